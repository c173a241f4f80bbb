// Vectors, maps, threads and their memory: what all kernels stand on.
//
// Maps are rows x columns x channels (channels last) or planes x rows x columns; the caller has padded them where a
// kernel reads beyond the ends. Vectors are GCC's and Clang's own, so nothing here names a processor but block sizes and
// how halves are converted.

#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__F16C__))
#include <immintrin.h>
#endif
#if !defined(_WIN32)
#include <pthread.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16, BLOCK = 14;  // 28 accumulators, 2 weights and 1 broadcast in 32 registers
#elif defined(__AVX2__)
constexpr int LANES = 8, BLOCK = 6;
#else
constexpr int LANES = 4, BLOCK = 8;
#endif
constexpr int PANEL = 2 * LANES;  // output channels of one pass over the weights

typedef float Vec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef std::int32_t Ints __attribute__((vector_size(4 * LANES), aligned(4)));

static inline Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
static inline void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }

// A number in IEEE half precision: maps of these take half the memory, and half the time to go there and back. What is
// too large for them becomes infinite. Only for processors that convert them by themselves.
struct Half {
  std::uint16_t bits;
};
#if defined(__AVX512F__)
constexpr bool HALVES = true;
static inline Vec load(const Half* p) {
  return (Vec)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
static inline void store(Half* p, Vec v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
}
#elif defined(__AVX2__) && defined(__F16C__)
constexpr bool HALVES = true;
static inline Vec load(const Half* p) {
  return (Vec)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
static inline void store(Half* p, Vec v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
}
#else
constexpr bool HALVES = false;
static inline Vec load(const Half*) { return Vec{}; }
static inline void store(Half*, Vec) {}
#endif

static inline Vec positive(Vec v) { return v < 0.0f ? Vec{} : v; }  // NaN stays, so that it is noticed

struct Image {
  float* data;
  std::int64_t row, pixel;  // numbers from row to row, from pixel to pixel
};

template <typename T>  // floats or halves
static inline T* numbers(const Image& image) {
  return reinterpret_cast<T*>(image.data);
}

struct Planes {
  float* data;
  std::int64_t row, plane;  // floats from row to row, from plane to plane
};

// ---------------------------------------------------------------------------------------------------------- threads

static inline void breathe() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Threads that wait for work awake for a moment, since the next layer comes soon, and then asleep.
class Pool {
 public:
  // Calls work(i) for i in [0, count) on `threads` threads, the caller's among them.
  void run(int count, int threads, const std::function<void(int)>& work) {
    threads = std::min(threads, count);
    if (threads <= 1) {
      for (int i = 0; i < count; ++i) work(i);
      return;
    }
    std::lock_guard<std::mutex> one_caller(callers_);
    while (static_cast<int>(workers_.size()) < threads - 1) start();
    work_ = &work;
    count_ = count;
    wanted_ = threads - 1;
    next_ = 0;
    active_ = static_cast<int>(workers_.size());
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ++round_;
    }
    wake_.notify_all();
    drain();
    while (active_ != 0) breathe();
  }

 private:
  void drain() {
    for (int i; (i = next_.fetch_add(1)) < count_;) (*work_)(i);
  }
  void start() {
    const int index = static_cast<int>(workers_.size());
    workers_.emplace_back([this, index, seen = round_.load()]() mutable {
      for (;;) {
        const auto patience = std::chrono::steady_clock::now() + std::chrono::microseconds(AWAKE);
        while (round_ == seen && std::chrono::steady_clock::now() < patience) breathe();
        if (round_ == seen) {
          std::unique_lock<std::mutex> lock(mutex_);
          wake_.wait(lock, [&] { return round_ != seen; });
        }
        seen = round_;
        if (index < wanted_) drain();
        --active_;
      }
    });
    workers_.back().detach();
  }

  static constexpr int AWAKE = 200;
  std::mutex callers_, mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
  const std::function<void(int)>* work_ = nullptr;
  std::atomic<int> next_{0}, active_{0};
  std::atomic<std::uint64_t> round_{0};
  int count_ = 0, wanted_ = 0;
};

inline Pool*& the_pool() {
  static Pool* only = nullptr;
  return only;
}

// Never destroyed: its threads wait in it when the process ends. A forked process has none of them, and starts anew.
inline Pool& pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    the_pool() = new Pool;
#if !defined(_WIN32)
    pthread_atfork(nullptr, nullptr, [] { the_pool() = new Pool; });
#endif
  });
  return *the_pool();
}

// Bytes of a core's second-level cache.
inline std::int64_t second_level_cache() {
  static const std::int64_t size = [] {
    std::int64_t found = 0;
#if defined(__linux__) && defined(_SC_LEVEL2_CACHE_SIZE)
    found = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
    return found >= 256 << 10 ? std::min<std::int64_t>(found, 2 << 20) : 512 << 10;
  }();
  return size;
}

// Memory that a thread keeps from call to call, on Linux in huge pages: kernels go through it in many strides.
inline float* scratch(std::size_t floats) {
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  constexpr std::size_t PAGE = 2 << 20;
  thread_local std::unique_ptr<float, Free> memory;
  thread_local std::size_t size = 0;
  if (size < 4 * floats) {
    size = (4 * floats + PAGE - 1) / PAGE * PAGE;
    memory.reset(static_cast<float*>(std::aligned_alloc(PAGE, size)));
#if defined(__linux__)
    madvise(memory.get(), size, MADV_HUGEPAGE);
#endif
  }
  return memory.get();
}
