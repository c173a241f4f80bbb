// The memory cell's state, and the coefficients of the atoms that the heads make of it.

#pragma once

#include "sources.h"

// ------------------------------------------------------------------------------------------------ the memory cell

struct State {
  Source gates, previous;  // previous: hidden and cell state of the coarser scale, or no data
  Image output;
  std::int32_t start, stop, columns, hidden;
};

static void state_row(const State& s, int y) {
  const int count = s.hidden;
  const bool before = s.previous.image.data != nullptr;
  const Enlarged previous(before ? s.previous : s.gates, before ? y : 0);
  for (int x = 0; x < s.columns; ++x) {
    const float* gates = s.gates.at(y, x);
    float* to = s.output.data + (y - s.start) * s.output.row + x * s.output.pixel;
    const Corners corners = previous.at(before ? x : 0);
    for (int k = 0; k < count; k += LANES) {
      // the last vector reads numbers that follow, which do not matter, and must not write where they are
      Vec cell = sigmoid(load(gates + k)) * hyperbolic_tangent(load(gates + 3 * count + k));
      if (before) cell += sigmoid(load(gates + count + k)) * corners.vector(count + k);
      const Vec hidden = sigmoid(load(gates + 2 * count + k)) * hyperbolic_tangent(cell);
      if (k + LANES <= count) {
        store(to + k, hidden);
        store(to + count + k, cell);
      } else {
        for (int i = 0; k + i < count; ++i) to[k + i] = hidden[i], to[count + k + i] = cell[i];
      }
    }
  }
}

// --------------------------------------------------------------------------------------------------- coefficients

static void to_planes(const float* pixels, int pitch, int count, int channels, const Planes& out, int row, int x) {
  for (int k = 0; k < channels; ++k) {
    float* to = out.data + k * out.plane + row * out.row + x;
    for (int i = 0; i < count; ++i) to[i] = pixels[i * pitch + k];
  }
}

struct Gate {  // h attention + h
  Source attention, hidden;
  Planes output;
  std::int32_t start, stop, columns, count, pool;
};

static void gate_row(const Gate& g, int y) {
  const int pitch = (g.count + LANES - 1) / LANES * LANES;
  float* strip = scratch(STRIP * pitch);
  for (int x = 0; x < g.columns; x += STRIP) {
    const int pixels = std::min(STRIP, g.columns - x);
    for (int i = 0; i < pixels; ++i) {
      const float *a = g.attention.at(y, x + i), *h = g.hidden.at(y / g.pool, (x + i) / g.pool);
      for (int k = 0; k < pitch; k += LANES) store(strip + i * pitch + k, load(h + k) * load(a + k) + load(h + k));
    }
    to_planes(strip, pitch, pixels, g.count, g.output, y - g.start, x);
  }
}

struct LookUp {  // softmax over the radii, times the table, whose first radius is zero
  Source logits;
  Image output;
  const float* table;  // (radii - 1) x width
  std::int32_t start, stop, columns, radii, width;
};

constexpr int TOGETHER = 4;  // pixels whose sums are made in turns, since a sum waits for its last product

// found[i] = sum over r of weights[i][r] * table[r]
__attribute__((noinline)) static void weighted(const float* weights, int pitch, const float* table, int width, int rows,
                                               Vec (&found)[TOGETHER]) {
  const float *one = weights, *two = one + pitch, *three = two + pitch, *four = three + pitch;
  Vec sums[TOGETHER] = {};
  for (int r = 0; r < rows; ++r, table += width) {
    const Vec row = load(table);
    sums[0] += one[r] * row, sums[1] += two[r] * row, sums[2] += three[r] * row, sums[3] += four[r] * row;
  }
#pragma GCC unroll 4
  for (int i = 0; i < TOGETHER; ++i) found[i] = sums[i];
}

static void look_up_row(const LookUp& l, int y) {
  const int padded = (l.radii + LANES - 1) / LANES * LANES;
  float* weights = scratch(TOGETHER * padded + LANES);
  float* lanes = weights + TOGETHER * padded;
  Vec none = {};  // where the last vector has no radius
  for (int i = 0; i < LANES; ++i) none[i] = padded - LANES + i < l.radii ? 0.0f : -1e9f;
  for (int x = 0; x < l.columns; x += TOGETHER) {
    float sums[TOGETHER];
    for (int i = 0; i < TOGETHER; ++i) {
      float* own = weights + i * padded;
      const float* logits = l.logits.at(y, x + i);
      const auto logit = [&](int r) { return r + LANES < padded ? load(logits + r) : load(logits + r) + none; };
      Vec highest = logit(0);
      for (int r = LANES; r < padded; r += LANES) highest = logit(r) > highest ? logit(r) : highest;
      store(lanes, highest);
      const float top = *std::max_element(lanes, lanes + LANES);
      Vec total = {};
      for (int r = 0; r < padded; r += LANES) {
        const Vec power = exponential(logit(r) - top);
        total += power;
        store(own + r, power);
      }
      store(lanes, total);
      sums[i] = 0;
      for (int lane = 0; lane < LANES; ++lane) sums[i] += lanes[lane];
    }
    for (int p = 0; p < l.width; p += LANES) {
      Vec found[TOGETHER];
      weighted(weights + 1, padded, l.table + p, l.width, l.radii - 1, found);
      for (int i = 0; i < std::min(TOGETHER, l.columns - x); ++i)
        store(l.output.data + (y - l.start) * l.output.row + (x + i) * l.output.pixel + p, found[i] / sums[i]);
    }
  }
}

// basis^T (enlarged looked-up coordinates + step * residual), and 1 for the delta. A pixel's residual has the coordinates
// of one of its stem x stem pixels after those of another.
struct Coefficients {
  Source looked_up, residual;
  Planes output;
  const float* basis;  // coordinates x width
  std::int32_t start, stop, columns, coordinates, count, width, stem;
  float step;
};

// COUNT planes of coefficients, from k on, of a strip of pixels.
template <int COUNT>
static void strip_of_coefficients(const Coefficients& c, const float* coordinates, int k, float* to, std::int64_t plane) {
  constexpr int VECS = STRIP / LANES;
  Vec total[COUNT][VECS] = {};
  for (int p = 0; p < c.coordinates; ++p, coordinates += STRIP) {
    const float* basis = c.basis + p * c.width + k;
#pragma GCC unroll 4
    for (int i = 0; i < COUNT; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < VECS; ++v) total[i][v] += basis[i] * load(coordinates + v * LANES);
  }
#pragma GCC unroll 4
  for (int i = 0; i < COUNT; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < VECS; ++v) store(to + i * plane + v * LANES, k + i == 0 ? total[i][v] + 1.0f : total[i][v]);
}

template <int STEM>
static void coefficients_row(const Coefficients& c, int y) {
  constexpr int COUNT = 3;  // planes together
  const int padded = (c.coordinates + LANES - 1) / LANES * LANES;
  float* coordinates = scratch(padded * STRIP + padded + COUNT * STRIP);  // planes
  float *pixel = coordinates + padded * STRIP, *last = pixel + padded;
  const Enlarged enlarged(c.looked_up, y);
  for (int x = 0; x < c.columns; x += STRIP) {
    const int pixels = std::min(STRIP, c.columns - x);
    for (int i = 0; i < pixels; ++i) {
      const int column = x + i, phase = y % STEM * STEM + column % STEM;
      const float* residual = c.residual.at(y / STEM, column / STEM) + phase * c.coordinates;
      // the last vector reads numbers that follow, which do not matter
      if (STEM == 1) {
        const float* own = c.looked_up.at(y, column);
        for (int p = 0; p < padded; p += LANES) store(pixel + p, load(own + p) + c.step * load(residual + p));
      } else {
        const Corners corners = enlarged.at(column);
        for (int p = 0; p < padded; p += LANES) store(pixel + p, corners.vector(p) + c.step * load(residual + p));
      }
      for (int p = 0; p < c.coordinates; ++p) coordinates[p * STRIP + i] = pixel[p];
    }
    for (int k = 0; k < c.count; k += COUNT) {
      const int count = std::min(COUNT, c.count - k);
      float* to = c.output.data + k * c.output.plane + (y - c.start) * c.output.row + x;
      float* strip = pixels == STRIP ? to : last;
      const std::int64_t plane = pixels == STRIP ? c.output.plane : STRIP;
      (count == 3   ? strip_of_coefficients<3>
       : count == 2 ? strip_of_coefficients<2>
                    : strip_of_coefficients<1>)(c, coordinates, k, strip, plane);
      for (int i = 0; pixels < STRIP && i < count; ++i) std::copy_n(last + i * STRIP, pixels, to + i * c.output.plane);
    }
  }
}

// ------------------------------------------------------------------------------------------------------- interface

extern "C" {

void nrknet_state(const State* s, std::int32_t threads) {
  pool().run(s->stop - s->start, threads, [&](int i) { state_row(*s, s->start + i); });
}

void nrknet_gate(const Gate* g, std::int32_t threads) {
  pool().run(g->stop - g->start, threads, [&](int i) { gate_row(*g, g->start + i); });
}

void nrknet_look_up(const LookUp* l, std::int32_t threads) {
  pool().run(l->stop - l->start, threads, [&](int i) { look_up_row(*l, l->start + i); });
}

void nrknet_coefficients(const Coefficients* c, std::int32_t threads) {
  const auto row = c->stem == 1 ? coefficients_row<1> : coefficients_row<2>;
  pool().run(c->stop - c->start, threads, [&](int i) { row(*c, c->start + i); });
}

}  // extern "C"
