// Convolutions with what follows them: bias, ReLU, a sum. Counts of channels are multiples of 16, but for what direct
// ones read. They compute in floats, or multiply 16-bit integers; what they read and write may be halves.
//
// Those at stride 1 use Winograd's algorithm (Lavin and Gray, CVPR 2016) on tiles of 8x8 inputs: 3x3 ones F(6x6, 3x3),
// 5x5 ones F(4x4, 5x5), and transposed ones, as four 2x2 ones, F(7x7, 2x2). So 64 products give 36, 16 or 49 outputs,
// instead of 9, 25 or 4 products one. 3x3 ones at stride 2 are 2x2 ones of blocks of 2x2 pixels, with four times the
// channels: 256 products give 49 outputs, instead of 9 one.

#include "product.h"

// --------------------------------------------------------------------------------------------------------- Winograd

struct Layer {
  const void* weights;    // floats, or integers where there are
  const float* steps;     // of these: points x outputs; or null
  const float* bias;      // or null
  Image input, output;
  Image residual;         // added after the ReLU where data is not null
  std::int32_t rows, columns;  // of the output (before `enlarge`)
  std::int32_t inputs, outputs;
  std::int32_t relu;
  std::int32_t taps;  // of Winograd's algorithm, or 0
  std::int32_t stride;   // 2: inputs are blocks of 2x2 pixels of inputs/4 channels
  std::int32_t enlarge;  // outputs are blocks of 2x2 sub-pixels of outputs/4 channels
  std::int32_t input_halves, output_halves, residual_halves;  // what these hold instead of floats
};

constexpr int POINTS = 8, SPECTRUM = POINTS * POINTS;  // one way and both ways
constexpr std::int32_t LEVELS = 11580;  // the largest integer that stands for an input; weights are as exact then

// Fetch a line of each of SIDE x SIDE pixels of a map into the cache, to be read or (1) written soon.
template <int SIDE, int WRITTEN, typename T>
static inline void fetch(const Image& image, const T* corner) {
  for (int i = 0; i < SIDE; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < SIDE; ++j) __builtin_prefetch(corner + i * image.row + j * image.pixel, WRITTEN, 3);
}

static inline void forward_transform(const Vec d[POINTS], Vec r[POINTS]) {
  const Vec even = d[2] + d[6] - 4.25f * d[4], odd = d[1] + d[5] - 4.25f * d[3];
  const Vec even2 = 0.25f * d[2] - 1.25f * d[4] + d[6], odd2 = 0.5f * d[1] - 2.5f * d[3] + 2.0f * d[5];
  const Vec even_half = 4.0f * d[2] - 5.0f * d[4] + d[6], odd_half = 2.0f * d[1] - 2.5f * d[3] + 0.5f * d[5];
  r[0] = d[0] - d[6] + 5.25f * (d[4] - d[2]);
  r[1] = even + odd;
  r[2] = even - odd;
  r[3] = even2 + odd2;
  r[4] = even2 - odd2;
  r[5] = even_half + odd_half;
  r[6] = even_half - odd_half;
  r[7] = d[7] - d[1] + 5.25f * (d[3] - d[5]);
}

// y_i = sum over the points p of p^i m_p, and what is at infinity for the last.
template <int SIDE>
static inline void inverse_transform(const Vec m[POINTS], Vec y[SIDE]) {
  const Vec sum = m[1] + m[2], difference = m[1] - m[2], sum2 = m[3] + m[4], difference2 = m[3] - m[4];
  float up = 1, down = 1;
#pragma GCC unroll 8
  for (int i = 0; i < SIDE; ++i, up *= 2, down *= 0.5f)
    y[i] = i % 2 ? difference + up * difference2 + down * (m[5] - m[6]) : sum + up * sum2 + down * (m[5] + m[6]);
  y[0] += m[0];
  y[SIDE - 1] += m[POINTS - 1];
}

// Tiles that are transformed together, in whole blocks: as many as fit into the second-level cache with their products
// for one panel, and some more where those are few. Where hardly any fit, since there are many channels, the weights
// count, and pass by the less often the more tiles there are.
static int tiles_together(const Layer& layer) {
  const auto blocks = [](int tiles) { return (tiles + BLOCK - 1) / BLOCK * BLOCK; };
  const std::int64_t tile = SPECTRUM * (layer.inputs * (layer.steps ? 2 : 4) + 4 * PANEL);
  const int fit = static_cast<int>(second_level_cache() * 3 / 4 / tile);
  return fit < 2 * BLOCK ? blocks(36) : std::clamp(fit / BLOCK * BLOCK, blocks(24), 8 * BLOCK);
}

// Tiles that cover the output one way; sub-pixels of the second row belong to the input row before (see `gather`).
static int tiles_along(const Layer& layer, int size) {
  const int side = POINTS + 1 - layer.taps;
  return (size + layer.enlarge + side - 1) / side;
}

// `count` tiles from the one numbered `first` on, whose points are multiplied as numbers N.
template <int TAPS, bool ENLARGED, typename N>
class Tiles {
  static constexpr bool FLOATS = std::is_same_v<N, float>;
  static constexpr int SIDE = POINTS + 1 - TAPS;
  static constexpr std::ptrdiff_t STEP_OUT = SPECTRUM * PANEL + 16;

 public:
  Tiles(const Layer& the_layer, int the_first, int the_count) : layer(the_layer), first(the_first), count(the_count) {
    across = tiles_along(layer, layer.columns);
    // a line more than needed, so that the streams do not fall on the same lines of the first-level cache
    most = (count + 2 * BLOCK - 1) / BLOCK * BLOCK;
    step_in = most * layer.inputs + LINE<N>;
    step_point = FLOATS ? step_in : layer.inputs + LINE<float>;
    const std::ptrdiff_t held = SPECTRUM * step_in * sizeof(N) / sizeof(float);
    products = scratch(held + most * STEP_OUT + (FLOATS ? 0 : SPECTRUM * (most + step_point)));
    spectrum = reinterpret_cast<N*>(products + most * STEP_OUT);
    steps = products + most * STEP_OUT + held;
    points = steps + SPECTRUM * most;
  }

  static void work(const Layer& layer, int first, int count) {
    const Tiles tiles(layer, first, count);
    const auto gather = layer.output_halves ? tiles.gather_of<Half>() : tiles.gather_of<float>();
    layer.input_halves ? tiles.transform<Half>() : tiles.transform<float>();
    for (int k = 0; k < layer.outputs; k += PANEL) {
      tiles.multiply_points(k);
      (tiles.*gather)(k, std::min(k + PANEL, layer.outputs));
    }
  }

 private:
  // From inputs to points, each a matrix (tiles x inputs).
  template <typename T>
  __attribute__((noinline)) void transform() const {
    const int stride = layer.stride;
    const Image image = {nullptr, stride * layer.input.row, stride * layer.input.pixel};
    const int segment = layer.inputs / stride;  // channels that are beside each other, those of a row of the block
    for (int t = 0; t < count; ++t) {
      const int y = (first + t) / across * SIDE, x = (first + t) % across * SIDE;
      const T* corner = numbers<const T>(layer.input) + y * image.row + x * image.pixel;
      for (int c = 0; c < layer.inputs; c += LANES) {
        const int within = c < segment ? c : c - segment;
        const T* from = corner + (c < segment ? 0 : layer.input.row) + within;
        if (within % LINE<T> == 0)  // what comes next
          fetch<POINTS, 0>(image, within + LINE<T> < segment ? from + LINE<T>
                                  : c < segment && segment < layer.inputs ? corner + layer.input.row
                                                                          : corner + SIDE * image.pixel);
        Vec half[POINTS][POINTS], d[POINTS], r[POINTS];
        for (int j = 0; j < POINTS; ++j) {
#pragma GCC unroll 8
          for (int i = 0; i < POINTS; ++i) d[i] = load(from + i * image.row + j * image.pixel);
          forward_transform(d, r);
#pragma GCC unroll 8
          for (int i = 0; i < POINTS; ++i) half[i][j] = r[i];
        }
        float* to = points + c;
        if constexpr (FLOATS) to = spectrum + static_cast<std::ptrdiff_t>(t) * layer.inputs + c;
        for (int i = 0; i < POINTS; ++i) {
          forward_transform(half[i], r);
#pragma GCC unroll 8
          for (int j = 0; j < POINTS; ++j) store(to + (POINTS * i + j) * step_point, r[j]);
        }
      }
      if constexpr (!FLOATS) quantize(t);
    }
  }

  // A tile's points as integers: at each point, numbers of steps of which its largest value is LEVELS. Where that is
  // infinite or no number, the step is no number, and so are the products.
  __attribute__((noinline)) void quantize(int t) const {
    const int inputs = layer.inputs;
    std::int32_t sizes[SPECTRUM];  // bits of floats, in the order of the floats themselves, infinity and NaN last
    for (int f = 0; f < SPECTRUM; ++f) {
      const float* from = points + f * step_point;
      Ints most{};
#pragma GCC unroll 2
      for (int c = 0; c < inputs; c += LANES) {
        const Ints size = (Ints)load(from + c) & 0x7fffffff;
        most = size > most ? size : most;
      }
      sizes[f] = largest(most);
    }
    float up[SPECTRUM];
    for (int f = 0; f < SPECTRUM; f += LANES) {
      const Ints bits = *reinterpret_cast<const Ints*>(sizes + f);
      const Vec size = (Vec)bits;
      // what is smaller counts for nothing
      store(up + f, (bits < 0x7f800000) & (size > 1e-30f) ? static_cast<float>(LEVELS) / size : Vec{});
      store(steps + t * SPECTRUM + f, bits < 0x7f800000 ? size * (1.0f / LEVELS) : Vec{} + NAN);
    }
    for (int f = 0; f < SPECTRUM; ++f) {
      const float* from = points + f * step_point;
      N* to = spectrum + f * step_in + static_cast<std::ptrdiff_t>(t) * inputs;
#pragma GCC unroll 2
      for (int c = 0; c < inputs; c += PACKED) store_integers(to + c, from + c, up[f]);
    }
  }

  // Each point's matrix times its weights for the panel of outputs from k on: all points of a tile beside each other.
  __attribute__((noinline)) void multiply_points(int k) const {
    const int depth = layer.inputs, width = layer.outputs;
    const std::ptrdiff_t apart = static_cast<std::ptrdiff_t>(depth) * width;  // from one point's weights to the next's
    // blocks of an even number of tiles, about as many in each; the last may read and write one that nobody needs
    const int blocks = (count + BLOCK - 1) / BLOCK, block = ((count + blocks - 1) / blocks + 1) / 2 * 2;
    const Product<N> product = width - k >= PANEL ? product_of<2, N>(block) : product_of<1, N>(block);
    const N* panel = static_cast<const N*>(layer.weights) + static_cast<std::ptrdiff_t>(k) * depth;
    const std::ptrdiff_t part = PANEL * depth / blocks, step = STEP * PANEL / blocks;
    for (int f = 0; f < SPECTRUM; ++f, panel += apart) {
      for (int b = 0; b < blocks; ++b) {
        const N* a = spectrum + f * step_in + static_cast<std::ptrdiff_t>(b) * block * depth;
        float* out = products + b * block * STEP_OUT + f * PANEL;
        const Ahead<N> next = {panel + apart + b * part, step};
        Steps by{};
        if constexpr (!FLOATS) by = {steps + b * block * SPECTRUM + f, layer.steps + f * width + k, SPECTRUM};
        product(a, depth, panel, depth, out, STEP_OUT, next, a + block * depth, by);
      }
    }
  }

  using Gather = void (Tiles::*)(int, int) const;

  template <typename T>
  Gather gather_of() const {
    return layer.residual_halves ? &Tiles::gather<T, Half> : &Tiles::gather<T, float>;
  }

  // From points to outputs [start, stop), in numbers of one type, with the residual in another.
  template <typename T, typename R>
  __attribute__((noinline)) void gather(int start, int stop) const {
    const int channels = ENLARGED ? layer.outputs / 4 : layer.outputs, apart = ENLARGED ? 2 : 1;
    for (int t = 0; t < count; ++t) {
      const int top = (first + t) / across * SIDE, left = (first + t) % across * SIDE;
      for (int k = start; k < stop; k += LANES) {
        Vec half[SIDE][POINTS], m[POINTS], out[SIDE];
        const float* from = products + t * STEP_OUT + k - start;
        for (int j = 0; j < POINTS; ++j) {
#pragma GCC unroll 8
          for (int i = 0; i < POINTS; ++i) m[i] = load(from + (POINTS * i + j) * PANEL);
          inverse_transform<SIDE>(m, out);
#pragma GCC unroll 8
          for (int i = 0; i < SIDE; ++i) half[i][j] = out[i];
        }
        if ((k - start) % LINE<T> == 0 && !ENLARGED) {
          const T* to = numbers<T>(layer.output) + top * layer.output.row + left * layer.output.pixel;
          fetch<SIDE, 1>(layer.output, k + LINE<T> < stop ? to + k + LINE<T> : to + SIDE * layer.output.pixel + start);
        }
        const Vec bias = layer.bias ? load(layer.bias + k) : Vec{};
        // the first sub-pixel is made from the pixel before and its own, the second from its own and the one after
        const int phase = k / channels, channel = k % channels, down = phase / 2, aside = phase % 2;
        const int from_x = std::max(0, aside - left), to_x = std::min(SIDE, layer.columns + aside - left);
        const int column = (left - aside) * apart + aside;
        for (int i = std::max(0, down - top); i < std::min(SIDE, layer.rows + down - top); ++i) {
          const int row = (top + i - down) * apart + down;
          inverse_transform<SIDE>(half[i], out);
          T* to = numbers<T>(layer.output) + row * layer.output.row + column * layer.output.pixel + channel;
          const R* add =
              numbers<const R>(layer.residual) + row * layer.residual.row + column * layer.residual.pixel + channel;
#pragma GCC unroll 8
          for (int j = 0; j < SIDE; ++j) {
            if (j < from_x || j >= to_x) continue;
            Vec v = layer.relu ? positive(out[j] + bias) : out[j] + bias;
            if (layer.residual.data) v += load(add + j * apart * layer.residual.pixel);
            store(to + j * apart * layer.output.pixel, v);
          }
        }
      }
    }
  }

  const Layer layer;
  const int first, count;
  int across;
  std::ptrdiff_t most, step_in, step_point;
  N* spectrum;
  float *products, *steps, *points;  // the last two for integers: tiles x points, and a tile's points x inputs
};

template <typename N>
static auto work_of(const Layer& layer) {
  return layer.enlarge ? Tiles<2, true, N>::work : layer.taps == 2 ? Tiles<2, false, N>::work
         : layer.taps == 3 ? Tiles<3, false, N>::work : Tiles<5, false, N>::work;
}

// ----------------------------------------------------------------------------------------------- direct convolution

struct Window {
  std::int32_t height, width, stride;
};

template <int ROWS, int VECS, typename In, typename T>
static void direct_block(const Layer& layer, const Window& window, const float* panel, int k, int y, int x) {
  Vec acc[ROWS][VECS];
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < VECS; ++v) acc[r][v] = Vec{};
  const In* corner =
      numbers<const In>(layer.input) + y * window.stride * layer.input.row + x * window.stride * layer.input.pixel;
  for (int i = 0; i < window.height; ++i)
    for (int j = 0; j < window.width; ++j, panel += layer.inputs * VECS * LANES) {
      const In* tap = corner + i * layer.input.row + j * layer.input.pixel;
      const std::ptrdiff_t stride = window.stride * layer.input.pixel;
      if constexpr (std::is_same_v<In, float>) {
        multiply<ROWS, VECS>(acc, tap, stride, panel, layer.inputs);
      } else {
        float* floats = scratch(ROWS * layer.inputs);
        for (int r = 0; r < ROWS; ++r)
          for (int c = 0; c < layer.inputs; c += LANES) store(floats + r * layer.inputs + c, load(tap + r * stride + c));
        multiply<ROWS, VECS>(acc, floats, layer.inputs, panel, layer.inputs);
      }
    }
#pragma GCC unroll 16
  for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < VECS; ++v) {
      const int channel = k + v * LANES;
      Vec out = acc[r][v] + (layer.bias ? load(layer.bias + channel) : Vec{});
      if (layer.relu) out = positive(out);
      const std::ptrdiff_t add = y * layer.residual.row + (x + r) * layer.residual.pixel + channel;
      if (layer.residual.data)
        out += layer.residual_halves ? load(numbers<const Half>(layer.residual) + add) : load(layer.residual.data + add);
      store(numbers<T>(layer.output) + y * layer.output.row + (x + r) * layer.output.pixel + channel, out);
    }
}

template <int VECS, typename In, typename T>
static void direct_row(const Layer& layer, const Window& window, const float* panel, int k, int y) {
  int x = 0;
  for (; x + BLOCK <= layer.columns; x += BLOCK) direct_block<BLOCK, VECS, In, T>(layer, window, panel, k, y, x);
  for (; x + 4 <= layer.columns; x += 4) direct_block<4, VECS, In, T>(layer, window, panel, k, y, x);
  for (; x < layer.columns; ++x) direct_block<1, VECS, In, T>(layer, window, panel, k, y, x);
}

template <typename In, typename T>
static void direct_panels(const Layer& layer, const Window& window, int y) {
  const std::ptrdiff_t taps = static_cast<std::ptrdiff_t>(window.height) * window.width * layer.inputs;
  for (int k = 0; k < layer.outputs; k += PANEL) {
    const auto row = layer.outputs - k >= PANEL ? direct_row<2, In, T> : direct_row<1, In, T>;
    row(layer, window, static_cast<const float*>(layer.weights) + taps * k, k, y);
  }
}

extern "C" {

std::int32_t nrknet_panel() { return PANEL; }
std::int32_t nrknet_lanes() { return LANES; }
std::int32_t nrknet_halves() { return HALVES; }  // whether convolutions read and write them
std::int32_t nrknet_integers() { return INTEGERS ? SUMMED : 0; }  // of how many channels products are summed up
std::int32_t nrknet_levels() { return LEVELS; }  // how large integers that stand for inputs are

// weights: 64 x panels x inputs x PANEL (the last panel LANES where the outputs end there), in floats; as integers
// 64 x panels x inputs/2 x PANEL x 2
void nrknet_winograd(const Layer* layer, std::int32_t threads) {
  const auto work = layer->steps ? work_of<std::int16_t>(*layer) : work_of<float>(*layer);
  const int tiles = tiles_along(*layer, layer->columns) * tiles_along(*layer, layer->rows);
  const int most = tiles_together(*layer);
  // pieces of whole blocks, of a size that leaves no thread waiting for long
  int piece = most;
  const auto longest = [&](int size) { return (tiles + size * threads - 1) / (size * threads) * size; };
  for (int size = most - BLOCK; size >= std::max(most / 2, BLOCK); size -= BLOCK)
    if (longest(size) < longest(piece)) piece = size;
  pool().run((tiles + piece - 1) / piece, threads,
             [&](int i) { work(*layer, i * piece, std::min(piece, tiles - i * piece)); });
}

// weights: panels x window x inputs x PANEL
void nrknet_direct(const Layer* layer, const Window* window, std::int32_t threads) {
  const auto row = layer->input_halves ? layer->output_halves ? direct_panels<Half, Half> : direct_panels<Half, float>
                   : layer->output_halves ? direct_panels<float, Half>
                                          : direct_panels<float, float>;
  pool().run(layer->rows, threads, [&](int y) { row(*layer, *window, y); });
}

}  // extern "C"
