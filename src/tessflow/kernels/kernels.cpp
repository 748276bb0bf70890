// The cell map (cells.h) and splines (spline.h) on processors, in C++17 with the vector types of GCC and Clang; no header
// of torch.
// Called through ctypes (native.py). All pointers are to contiguous arrays.
// What is called returns 0, 1 if there is not enough memory, or 2 if an index is that of no cell.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#ifndef MARGIN
#define MARGIN 1  // a test builds the search without its margin, and has to see it fail
#endif

#ifndef ROUNDED
#define ROUNDED 3  // how often the rounding of a point of double counts in its distances; a test builds it with 0
#endif

extern "C" {

// N tessellations of K cells in D dimensions.
struct Cells {
  const float* anchors;  // (N, K, D)
  const float* centres;  // (N, K, D), or null: rays begin at the anchors
  const float* weights;  // (N, K) of power cells, or null
  const bool* mask;      // (N, K), or null
  const float* lower;    // (N, D), or null
  const float* upper;    // (N, D), or null
  int64_t n, k, d;
};

// B points of each tessellation, and where to put what becomes of them.
struct Map {
  const void* x;         // (B, N, D), of double if `wide`, or else of float, as are z, log_det and their gradients
  const int64_t* index;  // (B, N)
  const float* scale;    // (B, N), or null for 1
  void* z;               // (B, N, D)
  void* log_det;         // (B, N)
  int64_t* wall;         // (B, N): see cells.h
  int64_t rows;
  int64_t profile;  // 0: softsign, 1: truncated Gaussian
  int64_t inverse;  // 0: into the cell, 1: out of it
  int64_t wide;
};

// Gradients: of z and log_det, given; of x, of the scale (both (B, N, ...)), and of the cells, to be filled.
struct Gradient {
  const void* z;
  const void* log_det;
  void* x;
  float* scale;
  double* anchors;  // (N, K, D), zeros
  double* centres;  // (N, K, D), zeros, or null
  double* weights;  // (N, K), zeros, or null
  double* box;      // (2, N, D), zeros, or null: lower, upper
};

// M points, each with a spline of its own, of K bins between -bound and bound.
struct Splines {
  const float* x;        // (M,)
  const float* widths;   // (M, K)
  const float* heights;  // (M, K)
  const float* slopes;   // (M, K - 1)
  float* y;              // (M,)
  float* log_slope;      // (M,)
  int64_t m, bins;
  double bound, least;  // the least slope
};

struct SplineGradient {
  const float* y;
  const float* log_slope;
  float *x, *widths, *heights, *slopes;
};
}

// Some of the work: pieces of STEP rows, tessellation by tessellation.
constexpr int64_t STEP = 128;

struct Pieces {
  int64_t rows, begin, last;
  // Calls work(n, begin, end) for rows of one tessellation, as many at a time as there are.
  template <class Work>
  void each(const Work& work) const {
    const int64_t of_each = (rows + STEP - 1) / STEP;
    for (int64_t piece = begin; piece < last;) {
      const int64_t n = piece / of_each, first = piece % of_each, end = std::min(of_each, first + last - piece);
      work(n, first * STEP, std::min(rows, end * STEP));
      piece += end - first;
    }
  }
};

#if defined(__x86_64__) && defined(__GNUC__)
#define SEVERAL 1
#define LANES 2
namespace plain {
#include "lanes.h"
#include "cells.h"
#include "spline.h"
}
#undef LANES
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define LANES 4
namespace avx2 {
#include "lanes.h"
#include "cells.h"
#include "spline.h"
}
#undef LANES
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,fma"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,fma,prefer-vector-width=512")
#endif
#define LANES 8
namespace avx512 {
#include "lanes.h"
#include "cells.h"
#include "spline.h"
}
#undef LANES
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
#define LANES 2  // such as the 128 bits of NEON
namespace plain {
#include "lanes.h"
#include "cells.h"
#include "spline.h"
}
#undef LANES
#endif

namespace {

enum Level { PLAIN, AVX2, AVX512 };

Level best_level() {
#ifdef SEVERAL
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512bw"))
    return AVX512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return AVX2;
#endif
  return PLAIN;
}

Level level = best_level();

#ifdef SEVERAL
#define CALL(function, ...)                                         \
  (level == AVX512 ? avx512::function(__VA_ARGS__)                  \
                   : level == AVX2 ? avx2::function(__VA_ARGS__) : plain::function(__VA_ARGS__))
#else
#define CALL(function, ...) plain::function(__VA_ARGS__)
#endif

// Does work(part, pieces) for rows of n tessellations, in parts that are worth a thread each, by what a row costs in
// operations.
template <class Work>
int share(int64_t rows, int64_t n, double cost_of_row, int threads, const Work& work) {
  const double cost = (double)rows * n * cost_of_row;
  const int64_t pieces = (rows + STEP - 1) / STEP * n;
  const int parts = (int)std::max<int64_t>(1, std::min<int64_t>({(int64_t)threads, pieces, (int64_t)(cost / 1e6)}));
  std::vector<char> failed(parts, 0);
  auto run = [&](int part) {
    try {
      work(part, Pieces{rows, pieces * part / parts, pieces * (part + 1) / parts});
    } catch (const std::out_of_range&) {
      failed[part] = 2;
    } catch (...) {
      failed[part] = 1;
    }
  };
  std::vector<std::thread> others;
  try {
    for (int part = 1; part < parts; part++) others.emplace_back(run, part);
  } catch (...) {  // no more threads are to be had: the rest is done here
  }
  for (int part = (int)others.size() + 1; part < parts; part++) run(part);
  run(0);
  for (auto& other : others) other.join();
  return *std::max_element(failed.begin(), failed.end());
}

double cost(const Cells& cells) { return (double)cells.d * (cells.k + 20); }

}  // namespace

extern "C" {

int tessflow_level() { return level; }

// Chooses the instructions; for tests. Returns whether the processor has them.
int tessflow_use(int which) {
  if (which > best_level()) return 0;
  level = (Level)which;
  return 1;
}

int tessflow_locate(const Cells* cells, const void* x, int64_t* index, int64_t rows, int wide, int threads) {
  return share(rows, cells->n, cost(*cells), threads, [&](int, Pieces pieces) {
    CALL(locate_all, *cells, x, index, wide, pieces);
  });
}

int tessflow_facing(const Cells* cells, const int64_t* index, const double* v, int64_t* wall, int64_t rows, int threads) {
  return share(rows, cells->n, cost(*cells), threads, [&](int, Pieces pieces) {
    CALL(facing_all, *cells, index, v, wall, pieces);
  });
}

int tessflow_map(const Cells* cells, const Map* map, int threads) {
  return share(map->rows, cells->n, cost(*cells), threads, [&](int, Pieces pieces) {
    CALL(map_all, *cells, *map, pieces);
  });
}

int tessflow_map_backward(const Cells* cells, const Map* map, const Gradient* of, int threads) {
  const size_t anchors = (size_t)cells->n * cells->k * cells->d, weights = (size_t)cells->n * cells->k,
               box = 2 * (size_t)cells->n * cells->d;
  // Each part but the first has sums of its own.
  struct Sums {
    std::vector<double> anchors, centres, weights, box;
  };
  std::vector<Sums> sums(threads > 1 ? threads : 1);
  const int failed = share(map->rows, cells->n, cost(*cells), threads, [&](int part, Pieces pieces) {
    Sums& own = sums[part];
    if (part && own.anchors.empty()) {
      own.anchors.resize(anchors);
      if (of->centres) own.centres.resize(anchors);
      if (of->weights) own.weights.resize(weights);
      if (of->box) own.box.resize(box);
    }
    auto place = [&](double* whole, std::vector<double>& some) { return part && whole ? some.data() : whole; };
    Gradient to = *of;
    to.anchors = place(of->anchors, own.anchors), to.centres = place(of->centres, own.centres);
    to.weights = place(of->weights, own.weights), to.box = place(of->box, own.box);
    CALL(map_backward_all, *cells, *map, to, pieces);
  });
  if (failed) return failed;
  for (Sums& own : sums) {
    for (size_t i = 0; i < own.anchors.size(); i++) of->anchors[i] += own.anchors[i];
    for (size_t i = 0; i < own.centres.size(); i++) of->centres[i] += own.centres[i];
    for (size_t i = 0; i < own.weights.size(); i++) of->weights[i] += own.weights[i];
    for (size_t i = 0; i < own.box.size(); i++) of->box[i] += own.box[i];
  }
  return 0;
}

int tessflow_spline(const Splines* splines, int threads) {
  return share(splines->m, 1, 20.0 * splines->bins, threads,
               [&](int, Pieces pieces) { CALL(spline_all, *splines, pieces); });
}

int tessflow_spline_backward(const Splines* splines, const SplineGradient* of, int threads) {
  return share(splines->m, 1, 40.0 * splines->bins, threads,
               [&](int, Pieces pieces) { CALL(spline_backward_all, *splines, *of, pieces); });
}
}
