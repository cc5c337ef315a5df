// As much of the Metal shading language as the kernel uses, in C++: it is run on a CPU by the tests.
#include <cmath>
#include <cstdint>
#include <cstring>

#define device
#define constant
#define kernel

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
