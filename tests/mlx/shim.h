// As much of Metal and CUDA as the kernels use, in C++: they are run on a CPU by the tests.
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

struct uint3 {
  uint32_t x, y, z;
};

template <typename To, typename From>
To as_type(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

using float16_t = _Float16;

struct bfloat16_t {
  uint16_t high;
  bfloat16_t() = default;
  explicit bfloat16_t(float f) {  // to nearest even; NaN stays NaN
    const uint32_t all = as_type<uint32_t>(f);
    high = std::isnan(f) ? 0x7fc0 : (all + 0x7fff + ((all >> 16) & 1)) >> 16;
  }
  explicit operator float() const { return as_type<float>(uint32_t(high) << 16); }
};

// 32 threads that tell each other numbers. They run one after another, all of them again and again,
// until each has been told what the others say: what they write in the end is what they then know.
struct Group {
  static constexpr uint32_t lanes = 32;
  std::vector<std::array<uint32_t, lanes>> said;  // in each call, by each lane
  uint32_t lane, call;

  const std::array<uint32_t, lanes>& say(uint32_t number) {
    if (call == said.size()) said.emplace_back();
    said[call][lane] = number;
    return said[call++];
  }

  // False where some said something and others did not.
  template <typename Thread>
  bool run(Thread thread) {
    said.clear();
    for (;;) {
      const auto before = said;
      for (lane = 0; lane < lanes; ++lane) {
        call = 0;
        thread(lane);
        if (said == before && call != said.size()) return false;
      }
      if (said == before) return true;
    }
  }
};

inline Group group;

// An argument of any type of the kernel's.
using Shape = std::array<int32_t, 10>;
struct Argument {
  void* at;
  template <typename T>
  operator T*() const {
    return static_cast<T*>(at);
  }
  operator Shape() const { return *static_cast<Shape*>(at); }
};

template <typename Thread>
bool run_threads(uint32_t threads, Thread thread) {
  for (uint32_t first = 0; first < threads; first += Group::lanes)
    if (!group.run([&](uint32_t lane) { thread(first + lane); })) return false;
  return true;
}

// Metal
#define device
#define constant
#define kernel

inline uint32_t simd_max(uint32_t number) {
  uint32_t largest = 0;
  for (uint32_t other : group.say(number)) largest = other > largest ? other : largest;
  return largest;
}

// CUDA
#define __device__
#define __global__
#define __grid_constant__

using __half = float16_t;
using __nv_bfloat16 = bfloat16_t;
inline uint3 blockIdx, blockDim{Group::lanes, 1, 1}, threadIdx;

inline float __uint_as_float(uint32_t bits) { return as_type<float>(bits); }
inline uint32_t __float_as_uint(float number) { return as_type<uint32_t>(number); }
inline uint32_t __shfl_xor_sync(uint32_t, uint32_t number, int distance) {
  return group.say(number)[group.lane ^ distance];
}
