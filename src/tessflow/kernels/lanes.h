// Vectors of numbers, and the functions of them that a profile needs. Included once for each set of instructions, inside
// a namespace of its own, with LANES, the float64 numbers of a vector, defined.

typedef double Doubles __attribute__((vector_size(8 * LANES), may_alias));
typedef int64_t Longs __attribute__((vector_size(8 * LANES), may_alias));
typedef float Floats __attribute__((vector_size(8 * LANES), may_alias));
typedef int32_t Ints __attribute__((vector_size(8 * LANES), may_alias));

constexpr int FLOATS = 2 * LANES;

static inline Doubles all(double x) { return x - Doubles{}; }
static inline Floats all(float x) { return x - Floats{}; }
static inline Doubles& at(double* p) { return *(Doubles*)p; }
static inline Doubles at(const double* p) { return *(const Doubles*)p; }
static inline Floats at(const float* p) { return *(const Floats*)p; }
static inline Floats& at(float* p) { return *(Floats*)p; }
static inline Doubles least(Doubles a, Doubles b) { return a < b ? a : b; }
static inline Doubles most(Doubles a, Doubles b) { return a > b ? a : b; }
static inline Doubles size(Doubles x) { return x < 0.0 ? -x : x; }

static inline Doubles root(Doubles x) {
  Doubles y;
  for (int i = 0; i < LANES; i++) y[i] = __builtin_sqrt(x[i]);
  return y;
}

static inline Floats root(Floats x) {
  Floats y;
  for (int i = 0; i < FLOATS; i++) y[i] = __builtin_sqrtf(x[i]);
  return y;
}

static inline bool any(Ints x) {
  int32_t found = 0;
  for (int i = 0; i < FLOATS; i++) found |= x[i];
  return found;
}

// x = n log 2 + r, |r| <= log(2) / 2: returns e^r - 1 and sets 2^n. Numbers below -700 are taken as -700.
static inline Doubles split_exponential(Doubles x, Doubles& power) {
  const double magic = 6755399441055744.0;  // 1.5 * 2^52: the low bits of x + magic are x, rounded
  x = most(x, all(-700.0));
  Doubles shifted = x * 1.4426950408889634 + magic, n = shifted - magic;
  Doubles r = x - n * 6.93147180369123816490e-01;
  r = r - n * 1.90821492927058770002e-10;
  power = (Doubles)(((Longs)shifted + 1023) << 52);
  Doubles p = all(1.0 / 6227020800.0);
  const double inverse_factorials[] = {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
                                       1.0 / 5040,      1.0 / 720,      1.0 / 120,     1.0 / 24,     1.0 / 6, 0.5};
  for (double c : inverse_factorials) p = p * r + c;
  return r + r * r * p;
}

// e^x for x <= 0: relative error below 4e-16; e^-700 below.
static inline Doubles exponential(Doubles x) {
  Doubles power, p = split_exponential(x, power);
  return power + power * p;
}

// e^x for |x| <= 700: the same.
static inline Doubles exponential_of_any(Doubles x) {
  Doubles power, p = split_exponential(least(x, all(700.0)), power);
  return power + power * p;
}

// e^x - 1 for x <= 0: relative error below 6e-16.
static inline Doubles exponential_less_1(Doubles x) {
  Doubles power, p = split_exponential(x, power);
  return power * p + (power - 1.0);
}

// log x for normal x > 0: error below 3e-16, relative, or absolute next to 1.
static inline Doubles logarithm(Doubles x) {
  const int64_t root_half = 0x3fe6a09e667f3bcd;
  Longs e = ((Longs)x - root_half) >> 52;
  Doubles m = (Doubles)((Longs)x - (e << 52));  // in [sqrt(1/2), sqrt(2))
  Doubles n = (Doubles)(e + 0x4338000000000000) - 6755399441055744.0;
  Doubles f = m - 1.0, s = f / (2.0 + f), z = s * s;
  Doubles p = all(2.0 / 23);
  for (int k = 21; k >= 3; k -= 2) p = p * z + 2.0 / k;
  return n * 6.93147180369123816490e-01 + (2.0 * s + (s * z * p + n * 1.90821492927058770002e-10));
}

// log(1 + x) for x > -1: error as that of the logarithm.
static inline Doubles logarithm_of_1_and(Doubles x) {
  Doubles u = 1.0 + x;
  return logarithm(u) + (x - (u - 1.0)) / u;
}
