// Convolutions with what follows them: bias, ReLU, a sum. Channel counts are multiples of 16.
//
// Those at stride 1 use Winograd's algorithm (Lavin and Gray, CVPR 2016) on tiles of 6x6 inputs: F(4x4, 3x3), and with
// the same six points F(2x2, 5x5) and F(5x5, 2x2), which does transposed convolutions, four 2x2 ones. 36 products give
// 16, 4 and 25 outputs instead of 9, 25 and 4 products one. Blocks of tiles stay in the second-level cache all the way.

#include "common.h"

// --------------------------------------------------------------------------------------------------- matrix product

// acc[r][v] += sum_c a[r * stride + c] * w[c * VECS * LANES + v * LANES ...]
template <int ROWS, int VECS>
static inline void multiply(Vec (&acc)[ROWS][VECS], const float* a, std::ptrdiff_t stride, const float* w, int depth) {
  for (int c = 0; c < depth; ++c) {
    Vec b[VECS];
#pragma GCC unroll 2
    for (int v = 0; v < VECS; ++v) b[v] = load(w + (c * VECS + v) * LANES);
#pragma GCC unroll 16
    for (int r = 0; r < ROWS; ++r) {
      const float x = a[r * stride + c];
#pragma GCC unroll 2
      for (int v = 0; v < VECS; ++v) acc[r][v] += x * b[v];
    }
  }
}

template <int ROWS, int VECS>
static void product(const float* a, std::ptrdiff_t stride, const float* w, int depth, float* out,
                    std::ptrdiff_t out_stride) {
  Vec acc[ROWS][VECS] = {};
  multiply<ROWS, VECS>(acc, a, stride, w, depth);
  for (int r = 0; r < ROWS; ++r)
    for (int v = 0; v < VECS; ++v) store(out + r * out_stride + v * LANES, acc[r][v]);
}

// --------------------------------------------------------------------------------------------------------- Winograd

struct Layer {
  const float* weights;
  const float* bias;      // or null
  Image input, output;
  Image residual;         // added after the ReLU where data is not null
  std::int32_t rows, columns;  // of the output (before `enlarge`)
  std::int32_t inputs, outputs;
  std::int32_t relu;
  std::int32_t taps;  // of Winograd's algorithm; with 2, outputs are 2x2 sub-pixels of outputs/4 channels
};

static inline void forward_transform(const Vec d[6], Vec r[6]) {
  const Vec even = d[4] - 4.0f * d[2], odd = d[3] - 4.0f * d[1];
  const Vec even2 = d[4] - d[2], odd2 = 2.0f * (d[3] - d[1]);
  r[0] = 4.0f * d[0] - 5.0f * d[2] + d[4];
  r[1] = even + odd;
  r[2] = even - odd;
  r[3] = even2 + odd2;
  r[4] = even2 - odd2;
  r[5] = 4.0f * d[1] - 5.0f * d[3] + d[5];
}

// y_i = sum over the points p of p^i m_p, and what is at infinity for the last.
template <int SIDE>
static inline void inverse_transform(const Vec m[6], Vec y[SIDE]) {
  const Vec sum = m[1] + m[2], difference = m[1] - m[2], sum2 = m[3] + m[4], difference2 = m[3] - m[4];
  y[0] = m[0] + sum + sum2;
  y[1] = difference + 2.0f * difference2;
  if constexpr (SIDE > 2) {
    y[2] = sum + 4.0f * sum2;
    y[3] = difference + 8.0f * difference2;
  }
  if constexpr (SIDE > 4) y[4] = sum + 16.0f * sum2;
  y[SIDE - 1] += m[5];
}

// Tiles that cover the output one way; sub-pixels of the second row belong to the input row before (see below).
static int tiles_along(int size, int taps) { return (size + (taps == 2) + 6 - taps) / (7 - taps); }

template <int TAPS>
static void winograd_tiles(const Layer& layer, int first, int count) {
  constexpr int SIDE = 7 - TAPS;
  constexpr bool ENLARGED = TAPS == 2;
  const int across = tiles_along(layer.columns, TAPS), depth = layer.inputs, width = layer.outputs;
  // 16 more than needed, so that the 36 streams do not fall on the same lines of the first-level cache
  const std::ptrdiff_t step_in = static_cast<std::ptrdiff_t>(TILES) * depth + 16;
  const std::ptrdiff_t step_out = static_cast<std::ptrdiff_t>(TILES) * width + 16;
  float* spectrum = scratch(36 * (step_in + step_out));
  float* products = spectrum + 36 * step_in;

  for (int t = 0; t < count; ++t) {
    const int y = (first + t) / across * SIDE, x = (first + t) % across * SIDE;
    const float* corner = layer.input.data + y * layer.input.row + x * layer.input.pixel;
    for (int c = 0; c < depth; c += LANES) {
      Vec half[6][6], d[6], r[6];
      for (int j = 0; j < 6; ++j) {
        for (int i = 0; i < 6; ++i) d[i] = load(corner + i * layer.input.row + j * layer.input.pixel + c);
        forward_transform(d, r);
        for (int i = 0; i < 6; ++i) half[i][j] = r[i];
      }
      float* to = spectrum + static_cast<std::ptrdiff_t>(t) * depth + c;
      for (int i = 0; i < 6; ++i) {
        forward_transform(half[i], r);
        for (int j = 0; j < 6; ++j) store(to + (6 * i + j) * step_in, r[j]);
      }
    }
  }

  const int blocks = (count + BLOCK - 1) / BLOCK;  // the last reads and writes whole blocks; TILES holds them
  for (int f = 0; f < 36; ++f) {
    const float* weights = layer.weights + static_cast<std::ptrdiff_t>(f) * depth * width;
    for (int k = 0; k < width; k += PANEL) {
      const float* panel = weights + static_cast<std::ptrdiff_t>(k) * depth;
      for (int b = 0; b < blocks; ++b) {
        const float* a = spectrum + f * step_in + static_cast<std::ptrdiff_t>(b) * BLOCK * depth;
        float* out = products + f * step_out + static_cast<std::ptrdiff_t>(b) * BLOCK * width + k;
        if (width - k >= PANEL) product<BLOCK, 2>(a, depth, panel, depth, out, width);
        else product<BLOCK, 1>(a, depth, panel, depth, out, width);
      }
    }
  }

  const int channels = ENLARGED ? width / 4 : width;
  for (int t = 0; t < count; ++t) {
    const int top = (first + t) / across * SIDE, left = (first + t) % across * SIDE;
    for (int k = 0; k < width; k += LANES) {
      Vec half[SIDE][6], m[6], out[SIDE];
      const float* from = products + static_cast<std::ptrdiff_t>(t) * width + k;
      for (int j = 0; j < 6; ++j) {
        for (int i = 0; i < 6; ++i) m[i] = load(from + (6 * i + j) * step_out);
        inverse_transform<SIDE>(m, out);
        for (int i = 0; i < SIDE; ++i) half[i][j] = out[i];
      }
      const Vec bias = layer.bias ? load(layer.bias + k) : Vec{};
      // the first sub-pixel is made from the pixel before and its own, the second from its own and the one after
      const int phase = k / channels, channel = k % channels, down = phase / 2, aside = phase % 2;
      for (int i = 0; i < SIDE; ++i) {
        const int y = top + i - down;
        if (y < 0 || y >= layer.rows) continue;
        inverse_transform<SIDE>(half[i], out);
        for (int j = 0; j < SIDE; ++j) {
          const int x = left + j - aside;
          if (x < 0 || x >= layer.columns) continue;
          const int row = ENLARGED ? 2 * y + down : y, column = ENLARGED ? 2 * x + aside : x;
          Vec v = layer.relu ? positive(out[j] + bias) : out[j] + bias;
          if (layer.residual.data)
            v += load(layer.residual.data + row * layer.residual.row + column * layer.residual.pixel + channel);
          store(layer.output.data + row * layer.output.row + column * layer.output.pixel + channel, v);
        }
      }
    }
  }
}

// ----------------------------------------------------------------------------------------------- direct convolution

struct Window {
  std::int32_t height, width, stride;
};

template <int ROWS, int VECS>
static void direct_block(const Layer& layer, const Window& window, const float* panel, int k, int y, int x) {
  Vec acc[ROWS][VECS] = {};
  const float* corner = layer.input.data + y * window.stride * layer.input.row + x * window.stride * layer.input.pixel;
  for (int i = 0; i < window.height; ++i)
    for (int j = 0; j < window.width; ++j, panel += layer.inputs * VECS * LANES)
      multiply<ROWS, VECS>(acc, corner + i * layer.input.row + j * layer.input.pixel,
                           window.stride * layer.input.pixel, panel, layer.inputs);
  for (int r = 0; r < ROWS; ++r)
    for (int v = 0; v < VECS; ++v) {
      const int channel = k + v * LANES;
      Vec out = acc[r][v] + (layer.bias ? load(layer.bias + channel) : Vec{});
      if (layer.relu) out = positive(out);
      if (layer.residual.data)
        out += load(layer.residual.data + y * layer.residual.row + (x + r) * layer.residual.pixel + channel);
      store(layer.output.data + y * layer.output.row + (x + r) * layer.output.pixel + channel, out);
    }
}

template <int VECS>
static void direct_row(const Layer& layer, const Window& window, const float* panel, int k, int y) {
  int x = 0;
  for (; x + BLOCK <= layer.columns; x += BLOCK) direct_block<BLOCK, VECS>(layer, window, panel, k, y, x);
  for (; x + 4 <= layer.columns; x += 4) direct_block<4, VECS>(layer, window, panel, k, y, x);
  for (; x < layer.columns; ++x) direct_block<1, VECS>(layer, window, panel, k, y, x);
}

extern "C" {

std::int32_t nrknet_panel() { return PANEL; }
std::int32_t nrknet_lanes() { return LANES; }

// weights: 36 x panels x inputs x PANEL (the last panel LANES where the outputs end there)
void nrknet_winograd(const Layer* layer, std::int32_t threads) {
  const auto work = layer->taps == 2 ? winograd_tiles<2> : layer->taps == 3 ? winograd_tiles<3> : winograd_tiles<5>;
  const int tiles = tiles_along(layer->columns, layer->taps) * tiles_along(layer->rows, layer->taps);
  const int rounds = (tiles + TILES * threads - 1) / (TILES * threads);  // as many for every thread
  const int share = (tiles + rounds * threads - 1) / (rounds * threads);
  const int piece = (share + BLOCK - 1) / BLOCK * BLOCK;
  pool().run((tiles + piece - 1) / piece, threads,
             [&](int i) { work(*layer, i * piece, std::min(piece, tiles - i * piece)); });
}

// weights: panels x window x inputs x PANEL
void nrknet_direct(const Layer* layer, const Window* window, std::int32_t threads) {
  pool().run(layer->rows, threads, [&](int y) {
    const std::ptrdiff_t taps = static_cast<std::ptrdiff_t>(window->height) * window->width * layer->inputs;
    for (int k = 0; k < layer->outputs; k += PANEL) {
      const float* panel = layer->weights + taps * k;
      if (layer->outputs - k >= PANEL) direct_row<2>(*layer, *window, panel, k, y);
      else direct_row<1>(*layer, *window, panel, k, y);
    }
  });
}

}  // extern "C"
