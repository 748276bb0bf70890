// Which wall a ray meets, which cell a point is in, and the map of a cell with its derivatives. Included once for each
// set of instructions, after lanes.h.

constexpr int BLOCK = 128;     // points that are mapped together
constexpr int PITCH = 136;     // from one coordinate of them to the next: no power of 2, which would crowd the cache
constexpr int TILE = 4;        // points that are held against the same anchors at once
constexpr int FEW = 24;        // up to so many cells, the search is all float64
constexpr float UNIT = 6e-8f;  // half the spacing of float32 at 1
// As in profiles.py: how near a wall an inverse looks, and the least half squared radius.
constexpr double NEAREST = 1e-12, LEAST = 1e-20;
static const double TINY = std::pow(2.2250738585072014e-308, 0.2);
// Where points too far away are taken to be, as in cell.py: the largest number to the power .3.
static const double SEEN = std::pow((double)std::numeric_limits<float>::max(), 0.3);
static const double FARTHEST = std::pow(std::numeric_limits<double>::max(), 0.3);

template <class T>
struct Buffer {  // aligned memory
  T* p;
  explicit Buffer(size_t n) : p((T*)std::aligned_alloc(64, (n * sizeof(T) + 63) / 64 * 64)) {
    if (!p) throw std::bad_alloc();
  }
  ~Buffer() { std::free(p); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
};

static inline int64_t checked(int64_t index, int k) {
  if (index < 0 || index >= k) throw std::out_of_range("index");
  return index;
}

// The anchors of one tessellation for the search in float32: coordinate by coordinate, filled up to whole vectors.
struct Table {
  int k, padded;
  Buffer<float> anchors, exists;
  Table(const float* a, const bool* mask, int k, int d)
      : k(k), padded((k + FLOATS - 1) / FLOATS * FLOATS), anchors((size_t)d * padded), exists(padded) {
    for (int c = 0; c < d; c++) {
      float* row = anchors.p + (size_t)c * padded;
      for (int i = 0; i < k; i++) row[i] = a[(size_t)i * d + c];
      for (int i = k; i < padded; i++) row[i] = 0;
    }
    for (int i = 0; i < padded; i++) exists.p[i] = i < k && (!mask || mask[i]) ? 1.f : 0.f;
  }
};

// One tessellation, the same for many points.
struct One {
  const float *anchors, *centres, *weights;
  const bool* mask;
  const float *lower, *upper;
  int k, d;
  One(const Cells& all, int64_t n) : k(all.k), d(all.d) {
    size_t row = (size_t)n * k;
    anchors = all.anchors + row * d;
    centres = all.centres ? all.centres + row * d : anchors;
    weights = all.weights ? all.weights + row : nullptr;
    mask = all.mask ? all.mask + row : nullptr;
    lower = all.lower ? all.lower + n * d : nullptr;
    upper = all.upper ? all.upper + n * d : nullptr;
  }
  bool voronoi() const { return centres == anchors && !weights; }
  bool exists(int i) const { return !mask || mask[i]; }
  int first() const {
    for (int i = 0; i < k; i++)
      if (exists(i)) return i;
    return 0;
  }
  // What a wall is weighted with: 2 <x_i - x_k, v> / h is the gauge.
  double offset(int i, int own) const {
    double h = 0;
    for (int c = 0; c < d; c++) {
      double to = (double)anchors[(size_t)i * d + c] - centres[(size_t)own * d + c];
      double from = (double)anchors[(size_t)own * d + c] - centres[(size_t)own * d + c];
      h += to * to - from * from;
    }
    return weights ? h - weights[i] + weights[own] : h;
  }
};

// Up to BLOCK points of one tessellation, coordinate by coordinate: a vector holds one coordinate of several points.
struct Block {
  int m = 0, filled = 0, d;
  Buffer<double> displacement, anchor, normal, row;
  int64_t own[BLOCK], wall[BLOCK];
  alignas(64) double square[BLOCK], bisector[BLOCK], gauge[BLOCK], clearance[BLOCK], offset[BLOCK], scale[BLOCK];
  alignas(64) double ratio[BLOCK], log_det[BLOCK], longest[BLOCK];
  alignas(64) double best[BLOCK], which[BLOCK];
  alignas(64) double along[BLOCK], of_log_det[BLOCK], of_square[BLOCK], of_gauge[BLOCK], of_scale[BLOCK];
  bool infinite[BLOCK], moved[BLOCK], held[BLOCK];  // moved: a coordinate was too far away
  explicit Block(int d)
      : d(d), displacement((size_t)d * PITCH), anchor((size_t)d * PITCH), normal((size_t)d * PITCH), row(d) {}
  // Points past the last are copies of it, so that whole vectors can be worked on.
  void fill() {
    filled = (m + LANES - 1) / LANES * LANES;
    for (int p = m; p < filled; p++) {
      own[p] = own[m - 1];
      scale[p] = scale[m - 1];
      for (int c = 0; c < d; c++) displacement.p[c * PITCH + p] = displacement.p[c * PITCH + m - 1];
    }
  }
};

// The search in float64, for few cells, or cells that are no Voronoi cells about their anchors: all points of a block
// against one anchor after another.
template <bool voronoi>
static void search_all(const One& cells, Block& b) {
  const int d = cells.d;
  alignas(64) double from[BLOCK];  // |x_k - c|^2 - w_k
  for (int p = 0; p < b.filled; p++) {
    double s = 0;
    const size_t row = (size_t)b.own[p] * d;
    for (int c = 0; c < d; c++) {
      b.anchor.p[c * PITCH + p] = cells.anchors[row + c];
      double t = (double)cells.anchors[row + c] - cells.centres[row + c];
      s += t * t;
    }
    from[p] = voronoi ? 0 : cells.weights ? s - cells.weights[b.own[p]] : s;
  }
  for (int p = 0; p < b.filled; p += LANES) {
    Doubles best = all(0.0), which = all(-1.0);
    for (int i = 0; i < cells.k; i++) {
      if (!cells.exists(i)) continue;
      const float* to = cells.anchors + (size_t)i * d;
      Doubles dot = all(0.0), h = all(0.0);
      for (int c = 0; c < d; c++) {
        Doubles own = at(b.anchor.p + c * PITCH + p), v = at(b.displacement.p + c * PITCH + p);
        Doubles t = (double)to[c] - own;
        dot += t * v;
        if (voronoi) {
          h += t * t;
        } else {
          Doubles centre;
          for (int l = 0; l < LANES; l++) centre[l] = cells.centres[(size_t)b.own[p + l] * d + c];
          h += ((double)to[c] - centre) * ((double)to[c] - centre);
        }
      }
      if (!voronoi) h = h - at(from + p) - (cells.weights ? (double)cells.weights[i] : 0.0);
      Doubles slope = 2.0 * dot / (h > 0.0 ? h : all(1.0));
      Longs better = (slope > best) & (h > 0.0);
      best = better ? slope : best;
      which = better ? all((double)i) : which;
    }
    at(b.which + p) = which;
  }
  for (int p = 0; p < b.filled; p++) b.wall[p] = b.which[p] < 0 ? b.own[p] : (int64_t)b.which[p];
}

// The search in float32 with a margin (docs/theory.md, "How a wall is found"): what might be the first wall is compared
// in float64. Displacements are brought to length 1, which changes no wall.
static void search_tile(const One& cells, const Table& table, Block& b, int first, int points, float* upper, float* own,
                        float* ray) {
  const int d = cells.d;
  const float margin = MARGIN * (4 * d + 20) * UNIT;
  const Floats infinity = all(std::numeric_limits<float>::infinity()), zero = all(0.f);
  for (int p = 0; p < TILE; p++) {
    const int q = first + (p < points ? p : 0);
    double length = 0;
    for (int c = 0; c < d; c++) {
      double v = b.displacement.p[c * PITCH + q];
      length += v * v;
    }
    length = length > 0 ? std::sqrt(length) : 1;
    for (int c = 0; c < d; c++) {
      own[p * d + c] = cells.anchors[(size_t)b.own[q] * d + c];
      ray[p * d + c] = (float)(b.displacement.p[c * PITCH + q] / length);
    }
  }
  Floats low[TILE];
  for (int p = 0; p < TILE; p++) low[p] = zero;
  for (int i = 0; i < table.padded; i += FLOATS) {
    Floats dot[TILE], square[TILE];
    for (int p = 0; p < TILE; p++) dot[p] = zero, square[p] = zero;
    for (int c = 0; c < d; c++) {
      const Floats a = at((const float*)table.anchors.p + (size_t)c * table.padded + i);
#pragma GCC unroll 4
      for (int p = 0; p < TILE; p++) {
        const Floats t = a - own[p * d + c];
        dot[p] += t * ray[p * d + c];
        square[p] += t * t;
      }
    }
    const Ints none = at((const float*)table.exists.p + i) == 0.f;
    for (int p = 0; p < TILE; p++) {
      const Floats inverse = 1.0f / square[p], slope = 2.0f * dot[p] * inverse, error = root(inverse) * margin;
      // Too near or too far for float32, or the cell's own anchor: float64 decides.
      const Ints unclear = ~((square[p] > 1e-30f) & (square[p] < 1e30f));
      Floats least = unclear ? zero : slope - error, most = unclear ? infinity : slope + error;
      least = none ? zero : least;
      most = none ? -infinity : most;
      low[p] = least > low[p] ? least : low[p];
      at(upper + (size_t)p * table.padded + i) = most;
    }
  }
  for (int p = 0; p < points; p++) {
    const int q = first + p;
    const int64_t own_index = b.own[q];
    float lowest = 0;
    for (int l = 0; l < FLOATS; l++) lowest = std::max(lowest, low[p][l]);
    double best = 0;
    int64_t wall = own_index;
    for (int i = 0; i < table.padded; i += FLOATS) {
      const Ints candidate = at((const float*)upper + (size_t)p * table.padded + i) >= lowest;
      if (!any(candidate)) continue;
      for (int l = 0; l < FLOATS; l++) {
        const int64_t other = i + l;
        if (!candidate[l] || other >= table.k || other == own_index) continue;
        double dot = 0, square = 0;
        for (int c = 0; c < d; c++) {
          double t = (double)cells.anchors[other * d + c] - (double)cells.anchors[own_index * d + c];
          dot += t * b.displacement.p[c * PITCH + q];
          square += t * t;
        }
        if (square > 0 && 2 * dot / square > best) best = 2 * dot / square, wall = other;
      }
    }
    b.wall[q] = wall;
  }
}

// Sets the wall that each ray of the block meets first; its own cell if there is none.
struct Search {
  std::unique_ptr<Table> table;
  std::unique_ptr<Buffer<float>> upper, own, ray;
  explicit Search(const One& cells) {
    if (cells.voronoi() && (cells.k > FEW || cells.d > FEW)) {
      table.reset(new Table(cells.anchors, cells.mask, cells.k, cells.d));
      upper.reset(new Buffer<float>((size_t)TILE * table->padded));
      own.reset(new Buffer<float>((size_t)TILE * cells.d));
      ray.reset(new Buffer<float>((size_t)TILE * cells.d));
    }
  }
  void walls(const One& cells, Block& b) {
    if (table) {
      for (int p = 0; p < b.m; p += TILE)
        search_tile(cells, *table, b, p, std::min(TILE, b.m - p), upper->p, own->p, ray->p);
      for (int p = b.m; p < b.filled; p++) b.wall[p] = b.wall[b.m - 1];
    } else if (cells.voronoi()) {
      search_all<true>(cells, b);
    } else {
      search_all<false>(cells, b);
    }
  }
};

// The nearest anchors of points ``(rows, n, d)`` of one tessellation. In float64 two anchors are compared by
// |a - x|^2 - |b - x|^2 = <a - b, a + b - 2 x>, which keeps its digits far out, where both squares are huge, and close by.
template <class T>
static void locate_rows(const Cells& every, int64_t n, const T* x, int64_t* index, int64_t begin, int64_t end) {
  const One cells(every, n);
  const int d = cells.d, k = cells.k, first = cells.first();
  const int64_t stride = every.n;
  const float *anchors = cells.anchors, *weights = cells.weights;
  if (weights || k <= FEW) {
    Buffer<double> points((size_t)d * LANES), best((size_t)d * LANES);
    for (int64_t row = begin; row < end; row += LANES) {
      const int m = (int)std::min<int64_t>(LANES, end - row);
      for (int c = 0; c < d; c++)
        for (int l = 0; l < LANES; l++) {
          points.p[c * LANES + l] = x[((row + std::min(l, m - 1)) * stride + n) * d + c];
          best.p[c * LANES + l] = anchors[(size_t)first * d + c];
        }
      Doubles which = all((double)first), weight = all(weights ? (double)weights[first] : 0.0);
      for (int i = first + 1; i < k; i++) {
        if (!cells.exists(i)) continue;
        const double own = weights ? weights[i] : 0;
        Doubles farther = weight - own;
        for (int c = 0; c < d; c++) {
          const double a = anchors[(size_t)i * d + c];
          const Doubles other = at(best.p + c * LANES);
          farther += (a - other) * (a + other - 2.0 * at(points.p + c * LANES));
        }
        const Longs nearer = farther < 0.0;
        for (int c = 0; c < d; c++) {
          Doubles& other = at(best.p + c * LANES);
          other = nearer ? all((double)anchors[(size_t)i * d + c]) : other;
        }
        which = nearer ? all((double)i) : which;
        weight = nearer ? all(own) : weight;
      }
      for (int l = 0; l < m; l++) index[(row + l) * stride + n] = (int64_t)which[l];
    }
    return;
  }
  const Table table(cells.anchors, cells.mask, k, d);
  Buffer<float> squares((size_t)TILE * table.padded), points((size_t)TILE * d);
  const Floats infinity = all(std::numeric_limits<float>::infinity());
  const float margin = 1 + MARGIN * (2 * d + 10) * UNIT, least = MARGIN * d * 1e-37f;
  for (int64_t row = begin; row < end; row += TILE) {
    const int m = (int)std::min<int64_t>(TILE, end - row);
    const auto at_point = [&](int p, int c) { return (double)x[((row + p) * stride + n) * d + c]; };
    for (int p = 0; p < TILE; p++)
      for (int c = 0; c < d; c++) points.p[p * d + c] = (float)at_point(p < m ? p : 0, c);
    Floats best[TILE];
    for (int p = 0; p < TILE; p++) best[p] = infinity;
    for (int i = 0; i < table.padded; i += FLOATS) {
      Floats square[TILE];
      for (int p = 0; p < TILE; p++) square[p] = all(0.f);
      for (int c = 0; c < d; c++) {
        const Floats a = at((const float*)table.anchors.p + (size_t)c * table.padded + i);
#pragma GCC unroll 4
        for (int p = 0; p < TILE; p++) {
          const Floats t = a - points.p[p * d + c];
          square[p] += t * t;
        }
      }
      const Ints none = at((const float*)table.exists.p + i) == 0.f;
      for (int p = 0; p < TILE; p++) {
        const Floats distance = none ? infinity : square[p];
        best[p] = distance < best[p] ? distance : best[p];
        at(squares.p + (size_t)p * table.padded + i) = distance;
      }
    }
    for (int p = 0; p < m; p++) {
      float nearest = best[p][0];
      for (int l = 1; l < FLOATS; l++) nearest = std::min(nearest, best[p][l]);
      float limit = nearest * margin + least;
      if (sizeof(T) == 8) {  // the point was rounded: each distance may be wrong by as much as that moved it
        double size = 0;
        for (int c = 0; c < d; c++) size += at_point(p, c) * at_point(p, c);
        const double farther = std::sqrt((double)limit) + ROUNDED * MARGIN * UNIT * std::sqrt(size);
        limit = (float)(farther * farther * margin);
      }
      int64_t which = -1;
      for (int i = 0; i < table.padded; i += FLOATS) {
        const Ints candidate = at((const float*)squares.p + (size_t)p * table.padded + i) <= limit;
        if (!any(candidate)) continue;
        for (int l = 0; l < FLOATS; l++) {
          if (!candidate[l] || i + l >= k || !cells.exists(i + l)) continue;
          double farther = which < 0 ? -1 : 0;
          for (int c = 0; which >= 0 && c < d; c++) {
            const double a = anchors[(size_t)(i + l) * d + c], other = anchors[(size_t)which * d + c];
            farther += (a - other) * (a + other - 2 * at_point(p, c));
          }
          if (farther < 0) which = i + l;
        }
      }
      if (which < 0) which = first;  // the point is no number
      index[(row + p) * stride + n] = which;
    }
  }
}

// Codes of walls: below k that of a bisector (the cell's own index if there is none); k + 2 c and k + 2 c + 1 are the
// upper and the lower wall of the box in coordinate c. Where the point was held back from the wall (`measure_longest`),
// the code is complemented, so that the way back knows of it.
static inline double room_of(const One& cells, int64_t own, int c, bool lower) {
  const double centre = cells.centres[(size_t)own * cells.d + c];
  const double room = lower ? centre - (double)cells.lower[c] : (double)cells.upper[c] - centre;
  return std::max(room, 2.2250738585072014e-308);
}

// Sets lengths, gauges, and clearances of a block from its displacements and the walls.
static void measure(const One& cells, Block& b, const bool known) {
  const int d = cells.d;
  const bool voronoi = cells.voronoi();
  for (int p = 0; p < b.filled; p++) {
    const int64_t wall = b.wall[p] < cells.k ? b.wall[p] : b.own[p];
    for (int c = 0; c < d; c++)
      b.normal.p[c * PITCH + p] = (double)cells.anchors[wall * d + c] - (double)cells.anchors[b.own[p] * d + c];
    if (!voronoi) b.offset[p] = wall == b.own[p] ? 0 : cells.offset((int)wall, (int)b.own[p]);
  }
  for (int p = 0; p < b.filled; p += LANES) {
    Doubles square = all(0.0), h = all(0.0), dot = all(0.0), left = all(0.0);
    for (int c = 0; c < d; c++) {
      Doubles v = at(b.displacement.p + c * PITCH + p), normal = at(b.normal.p + c * PITCH + p);
      square += v * v;
      h += normal * normal;
      dot += v * normal;
      left += (normal - 2.0 * v) * normal;
    }
    if (!voronoi) h = at(b.offset + p), left = h - 2.0 * dot;
    Doubles safe = h > 0.0 ? h : all(1.0), bisector = most(2.0 * dot / safe, all(0.0));
    at(b.square + p) = square;
    at(b.offset + p) = safe;
    at(b.bisector + p) = bisector;
    at(b.gauge + p) = bisector;
    at(b.clearance + p) = bisector > 0.0 ? left / safe : all(1.0);
  }
  if (!cells.lower && !cells.upper) return;
  for (int p = 0; p < b.filled; p++)
    for (int side = 0; side < 2; side++) {
      if (!(side ? cells.lower : cells.upper)) continue;
      for (int c = 0; c < d; c++) {
        const double room = room_of(cells, b.own[p], c, side);
        const double step = side ? -b.displacement.p[c * PITCH + p] : b.displacement.p[c * PITCH + p];
        const double gauge = step / room;
        const bool this_one = known ? b.wall[p] == cells.k + 2 * c + side : gauge > b.gauge[p];
        if (this_one) b.gauge[p] = gauge, b.wall[p] = cells.k + 2 * c + side;
        b.clearance[p] = std::min(b.clearance[p], (room - step) / room);
      }
    }
}

// How far points may go along their rays without being rounded across a bisector, in displacements: `Rays.longest`.
template <class T>
static void measure_longest(const One& cells, Block& b) {
  const float* first = cells.anchors + (size_t)cells.first() * cells.d;  // about which points are located
  const double eps = std::numeric_limits<T>::epsilon(), rounding = 2.220446049250313e-16 * (cells.d + 4);
  for (int p = 0; p < b.filled; p += LANES) {
    Doubles centre = all(0.0), apart = all(0.0), normal = all(0.0);
    for (int c = 0; c < cells.d; c++) {
      Doubles own, n = at(b.normal.p + c * PITCH + p);
      for (int l = 0; l < LANES; l++) own[l] = cells.centres[(size_t)b.own[p + l] * cells.d + c];
      centre += own * own;
      apart += (own - (double)first[c]) * (own - (double)first[c]);
      normal += n * n;
    }
    const Doubles h = at(b.offset + p), length = at(b.ratio + p) * root(at(b.square + p)), spacing = root(normal);
    const Doubles moved = 2.0 * eps * (root(centre) + length) * spacing / h, extent = root(apart) + length + spacing;
    const Doubles bisector = at(b.bisector + p);
    Doubles longest = 1.0 / ((1.0 + 4.0 * eps + moved + rounding * extent * extent / h) * bisector);
    at(b.longest + p) = bisector > 0.0 ? longest : all(std::numeric_limits<double>::infinity());
  }
}

// What both directions of a truncated Gaussian know of its wall: half its squared distance, and whether there is one.
static inline Doubles wall_at(Doubles gauge, Doubles half_square, Longs& live) {
  const Doubles t = gauge * gauge / half_square;
  live = (t > TINY) & (t < 1 / TINY);
  return 1.0 / least(most(t, all(TINY)), all(1 / TINY));
}

// Profiles (profiles.py): what points are multiplied by along their rays, and the log-determinant.
static void softsign(Block& b) {
  for (int p = 0; p < b.filled; p += LANES) {
    const Doubles g = at(b.scale + p), stretched = g * at(b.gauge + p);
    at(b.ratio + p) = g / (1.0 + stretched);
    at(b.log_det + p) = b.d * logarithm(g) - (b.d + 1.0) * logarithm_of_1_and(stretched);
  }
}

static void softsign_inverse(Block& b) {
  for (int p = 0; p < b.filled; p += LANES) {
    const Doubles g = at(b.scale + p), clearance = most(at(b.clearance + p), all(NEAREST));
    at(b.ratio + p) = 1.0 / (g * clearance);
    at(b.log_det + p) = -(double)b.d * logarithm(g) - (b.d + 1.0) * logarithm(clearance);
  }
}

// A smooth minimum of a and b: e^-m = e^-a + e^-b - e^-(a + b).
struct SmoothMinimum {
  Doubles m, within, within_b, excess;
  SmoothMinimum(Doubles a, Doubles b) {
    within = -exponential_less_1(-a);
    within_b = -exponential_less_1(-b);
    const Doubles both = within * within_b;
    excess = exponential(-size(a - b)) * (a < b ? within : within_b);
    const Doubles near = -logarithm_of_1_and(-least(both, all(0.5)));
    m = both < 0.5 ? near : least(a, b) - logarithm_of_1_and(excess);
  }
};

static void truncated_gaussian(Block& b) {
  for (int p = 0; p < b.filled; p += LANES) {
    const Doubles g = at(b.scale + p), a = most(at(b.square + p) / 2.0, all(LEAST));
    Longs live;
    const Doubles wall = wall_at(g * at(b.gauge + p), a, live);
    const SmoothMinimum s(a, wall);
    const Doubles ratio = s.m / a;
    at(b.ratio + p) = g * root(ratio);
    at(b.log_det + p) = b.d * logarithm(g) + (b.d / 2.0 - 1) * logarithm(ratio) + (logarithm(s.within_b) + (s.m - a));
  }
}

// What the inverse of a truncated Gaussian is made of.
struct Inverse {
  Doubles g, m, wall, within_b, clearance, rest, share, a, ratio, left;
  Longs live, at_anchor;
  Inverse(const Block& b, int p) {
    g = at(b.scale + p);
    clearance = most(at(b.clearance + p), all(NEAREST));
    m = at(b.square + p) / (2.0 * g * g);
    wall = wall_at(at(b.gauge + p), most(m, all(2.2250738585072014e-308)), live);
    within_b = -exponential_less_1(-wall);
    left = wall * clearance * (2.0 - clearance);  // wall - m, without cancellation
    rest = -exponential_less_1(-left);
    share = -exponential_less_1(-m) / within_b;
    const Doubles near = -logarithm_of_1_and(-least(share, all(0.5)));
    a = share < 0.5 ? near : m + logarithm(within_b) - logarithm(rest);
    at_anchor = a < LEAST;
    ratio = at_anchor ? within_b : m / most(a, all(LEAST));
  }
};

static void truncated_gaussian_inverse(Block& b) {
  for (int p = 0; p < b.filled; p += LANES) {
    const Inverse s(b, p);
    at(b.ratio + p) = 1.0 / (s.g * root(s.ratio));
    at(b.log_det + p) = -(double)b.d * logarithm(s.g) - (b.d / 2.0 - 1) * logarithm(s.ratio) - logarithm(s.rest);
  }
}

// Derivatives. Given <dz, v> and dL, what a change of the squared length, the gauge and the scale changes.
static void softsign_backward(Block& b) {
  for (int p = 0; p < b.filled; p += LANES) {
    const Doubles g = at(b.scale + p), gauge = at(b.gauge + p), flat = 1.0 / (1.0 + g * gauge), s = g * flat;
    const Doubles t = at(b.along + p), l = at(b.of_log_det + p);
    at(b.ratio + p) = s;
    at(b.of_square + p) = all(0.0);
    at(b.of_gauge + p) = -t * s * s - l * (b.d + 1.0) * s;
    at(b.of_scale + p) = t * flat * flat + l * ((double)b.d / g - (b.d + 1.0) * gauge * flat);
  }
}

static void softsign_inverse_backward(Block& b) {
  for (int p = 0; p < b.filled; p += LANES) {
    const Doubles g = at(b.scale + p), clearance = most(at(b.clearance + p), all(NEAREST)), s = 1.0 / (g * clearance);
    const Doubles t = at(b.along + p), l = at(b.of_log_det + p);
    const Longs live = at(b.clearance + p) > NEAREST;
    at(b.ratio + p) = s;
    at(b.of_square + p) = all(0.0);
    at(b.of_gauge + p) = live ? (t * s + l * (b.d + 1.0)) / clearance : all(0.0);
    at(b.of_scale + p) = (-t * s - l * (double)b.d) / g;
  }
}

static void truncated_gaussian_backward(Block& b) {
  const double half = b.d / 2.0 - 1;
  for (int p = 0; p < b.filled; p += LANES) {
    const Doubles g = at(b.scale + p), gauge = at(b.gauge + p), a0 = at(b.square + p) / 2.0, a = most(a0, all(LEAST));
    const Doubles t = at(b.along + p), l = at(b.of_log_det + p);
    Longs live;
    const Doubles wall = wall_at(g * gauge, a, live);
    const SmoothMinimum s(a, wall);
    const Doubles ratio = g * root(s.m / a);
    // e^(m - a) and e^(m - b), from e^-m = e^-min(a, b) (1 + excess).
    const Doubles inverse = 1.0 / (1.0 + s.excess), e = exponential(-size(a - wall));
    const Doubles by_a = (a < wall ? all(1.0) : e) * inverse * s.within_b;
    const Doubles by_b = (a < wall ? e : all(1.0)) * inverse * s.within;
    const Doubles log_a = by_a / s.m - 1.0 / a, log_b = by_b / s.m;
    Doubles of_a = t * 0.5 * ratio * log_a + l * (half * log_a + (by_a - 1.0));
    Doubles of_b = t * 0.5 * ratio * log_b + l * (half * log_b + (1.0 - s.within_b) / s.within_b + by_b);
    of_b = live ? of_b * wall : all(0.0);
    of_a += of_b / a;
    at(b.ratio + p) = ratio;
    at(b.of_square + p) = a0 < LEAST ? all(0.0) : 0.5 * of_a;
    at(b.of_gauge + p) = -2.0 * of_b / (gauge > 0.0 ? gauge : all(1.0));
    at(b.of_scale + p) = (t * ratio + l * (double)b.d - 2.0 * of_b) / g;
  }
}

static void truncated_gaussian_inverse_backward(Block& b) {
  const double half = b.d / 2.0 - 1;
  for (int p = 0; p < b.filled; p += LANES) {
    const Inverse s(b, p);
    const Doubles t = at(b.along + p), l = at(b.of_log_det + p), gauge = at(b.gauge + p);
    const Doubles ratio = 1.0 / (s.g * root(s.ratio)), ts = t * ratio;
    // Of log(a / m), and of what is left to the wall.
    const Doubles of_log = 0.5 * ts + l * half, of_left = -l * (1.0 - s.rest) / s.rest;
    const Doubles c = s.clearance, a = most(s.a, all(LEAST)), beyond = (1.0 - s.within_b) / s.within_b;
    // da = (dm - e^-left share db) / rest. On the wall what is left of it is held: a = m + log(within_b) - log(rest).
    // At the anchor log(a / m) is -log(within_b).
    const Longs apart = at(b.clearance + p) > NEAREST;
    const Doubles by_m = apart ? 1.0 / s.rest : all(1.0);
    const Doubles by_b = apart ? -(1.0 - s.rest) * s.share / s.rest : beyond - c * (2.0 - c) * (1.0 - s.rest) / s.rest;
    Doubles of_b = (s.at_anchor ? -of_log * beyond : of_log / a * by_b) + of_left * c * (2.0 - c);
    of_b = s.live ? of_b * s.wall : all(0.0);
    // Of log m: itself, a, and the wall, which is m over the squared gauge.
    const Doubles m = s.m, of_log_m = (s.at_anchor ? all(0.0) : of_log / a * by_m * m - of_log) + of_b;
    const Doubles of_clearance = apart ? of_left * 2.0 * s.wall * (1.0 - c) : all(0.0);
    const Doubles square = at(b.square + p);
    at(b.ratio + p) = ratio;
    at(b.of_square + p) = square > 0.0 ? of_log_m / (square > 0.0 ? square : all(1.0)) : all(0.0);
    at(b.of_gauge + p) = -2.0 * of_b / (gauge > 0.0 ? gauge : all(1.0)) - of_clearance;
    at(b.of_scale + p) = (-ts - l * (double)b.d - 2.0 * of_log_m) / s.g;
  }
}

static void apply_profile(Block& b, int profile, int inverse) {
  if (profile == 0) inverse ? softsign_inverse(b) : softsign(b);
  else inverse ? truncated_gaussian_inverse(b) : truncated_gaussian(b);
}

static void apply_profile_backward(Block& b, int profile, int inverse) {
  if (profile == 0) inverse ? softsign_inverse_backward(b) : softsign_backward(b);
  else inverse ? truncated_gaussian_inverse_backward(b) : truncated_gaussian_backward(b);
}

// A coordinate; one that is infinite, or too large for its square, is far away.
static inline double seen(float x) { return std::isinf(x) ? std::copysign(SEEN, x) : (double)x; }
static inline double seen(double x) { return std::abs(x) > FARTHEST ? std::copysign(FARTHEST, x) : x; }

// Reads points and what is known of them into a block.
template <class T>
static void read(const One& cells, Block& b, const Map& map, int64_t n, int64_t stride, int64_t row, int m) {
  const int d = cells.d;
  b.m = m;
  for (int p = 0; p < m; p++) {
    const size_t r = (size_t)(row + p) * stride + n;
    b.own[p] = checked(map.index[r], cells.k);
    b.scale[p] = map.scale ? map.scale[r] : 1;
    b.infinite[p] = b.moved[p] = false;
    for (int c = 0; c < d; c++) {
      const T given = ((const T*)map.x)[r * d + c];
      const double x = seen(given);
      b.infinite[p] |= std::isinf(given);
      b.moved[p] |= x != (double)given;
      b.displacement.p[c * PITCH + p] = x - (double)cells.centres[(size_t)b.own[p] * d + c];
    }
  }
  b.fill();
}

// A point's displacement once more, in the order of the point's own coordinates.
template <class T>
static void displacement_of(const One& cells, const Block& b, int p, const T* x, double* v) {
  const float* centre = cells.centres + (size_t)b.own[p] * cells.d;
  if (b.moved[p])
    for (int c = 0; c < cells.d; c++) v[c] = b.displacement.p[c * PITCH + p];
  else
    for (int c = 0; c < cells.d; c++) v[c] = (double)x[c] - (double)centre[c];
}

template <class T>
static void map_rows(const Cells& every, const Map& map, Block& b, int64_t n, int64_t begin, int64_t end) {
  const One cells(every, n);
  const int d = cells.d;
  const T* x = (const T*)map.x;
  T* log_det = (T*)map.log_det;
  Search search(cells);
  for (int64_t row = begin; row < end; row += BLOCK) {
    const int m = (int)std::min<int64_t>(BLOCK, end - row);
    read<T>(cells, b, map, n, every.n, row, m);
    search.walls(cells, b);
    measure(cells, b, false);
    apply_profile(b, map.profile, map.inverse);
    if (!map.inverse) measure_longest<T>(cells, b);
    for (int p = 0; p < m; p++) {
      const size_t r = (size_t)(row + p) * every.n + n;
      const double number = b.square[p] - b.square[p];  // 0, or none, where a coordinate is none
      const double ratio = number + (map.inverse ? b.ratio[p] : std::min(b.ratio[p], b.longest[p]));
      const float* centre = cells.centres + (size_t)b.own[p] * d;
      T* z = (T*)map.z + r * d;
      displacement_of(cells, b, p, x + r * d, b.row.p);
      for (int c = 0; c < d; c++) z[c] = (T)((double)centre[c] + ratio * b.row.p[c]);
      if (!map.inverse && cells.lower)
        for (int c = 0; c < d; c++) z[c] = z[c] < cells.lower[c] ? cells.lower[c] : z[c];
      if (!map.inverse && cells.upper)
        for (int c = 0; c < d; c++) z[c] = z[c] > cells.upper[c] ? cells.upper[c] : z[c];
      log_det[r] = b.infinite[p] ? -std::numeric_limits<T>::infinity() : (T)(number + b.log_det[p]);
      map.wall[r] = !map.inverse && b.ratio[p] > b.longest[p] ? ~b.wall[p] : b.wall[p];
    }
  }
}

template <class T>
static void map_backward_rows(const Cells& every, const Map& map, const Gradient& of, Block& b, int64_t n, int64_t begin,
                              int64_t end) {
  const One cells(every, n);
  const int d = cells.d, k = cells.k;
  const T *x = (const T*)map.x, *of_z = (const T*)of.z, *of_log_det = (const T*)of.log_det;
  T* of_x = (T*)of.x;
  const bool voronoi = cells.voronoi();
  double* to_anchors = of.anchors + (size_t)n * k * d;
  double* to_centres = every.centres ? of.centres + (size_t)n * k * d : to_anchors;
  double* to_weights = of.weights ? of.weights + (size_t)n * k : nullptr;
  double* to_lower = of.box ? of.box + (size_t)n * d : nullptr;
  double* to_upper = of.box ? of.box + (size_t)(every.n + n) * d : nullptr;
  for (int64_t row = begin; row < end; row += BLOCK) {
    const int m = (int)std::min<int64_t>(BLOCK, end - row);
    read<T>(cells, b, map, n, every.n, row, m);
    bool held = false;
    for (int p = 0; p < b.filled; p++) {
      const int64_t wall = map.wall[(size_t)(row + std::min(p, m - 1)) * every.n + n];
      b.held[p] = wall < 0;
      b.wall[p] = b.held[p] ? ~wall : wall;
      held |= b.held[p];
    }
    measure(cells, b, true);
    for (int p = 0; p < b.filled; p++) {
      const size_t r = (size_t)(row + std::min(p, m - 1)) * every.n + n;
      double along = 0;
      displacement_of(cells, b, std::min(p, m - 1), x + r * d, b.row.p);
      for (int c = 0; c < d; c++) along += b.row.p[c] * (double)of_z[r * d + c];
      // Where the point was held back, its place on the ray does not depend on the profile.
      b.along[p] = b.held[p] ? 0 : along;
      b.of_log_det[p] = b.infinite[std::min(p, m - 1)] ? 0 : of_log_det[r];
    }
    apply_profile_backward(b, map.profile, map.inverse);
    if (held) measure_longest<T>(cells, b);
    for (int p = 0; p < m; p++) {
      const size_t r = (size_t)(row + p) * every.n + n;
      const int64_t own = b.own[p], wall = b.wall[p];
      // If the box is nearer than the bisector that held the point, the bisector is not known any more.
      const double ratio = b.held[p] && std::isfinite(b.longest[p]) ? b.longest[p] : b.ratio[p];
      const double by_gauge = b.of_gauge[p], h = b.offset[p];
      of.scale[r] = (float)b.of_scale[p];
      const bool bisector = wall < k && b.bisector[p] > 0;
      const double slope = bisector ? 2 * by_gauge / h : 0;
      double *own_anchor = to_anchors + own * d, *centre = to_centres + own * d;
      double* facing = to_anchors + (wall < k ? wall : own) * d;
      const float *at_own = cells.anchors + own * d, *at_wall = cells.anchors + (wall < k ? wall : own) * d;
      displacement_of(cells, b, p, x + r * d, b.row.p);
      if (voronoi && wall < k) {  // by far the most, without a branch a coordinate
        for (int c = 0; c < d; c++) {
          const double v = b.row.p[c], normal = (double)at_wall[c] - (double)at_own[c], z = of_z[r * d + c];
          const double of_v = ratio * z + 2 * b.of_square[p] * v + slope * normal;
          const double of_normal = slope * (v - b.bisector[p] * normal);
          facing[c] += of_normal;
          own_anchor[c] += z - of_v - of_normal;
          of_x[r * d + c] = (T)of_v;
        }
        if (b.moved[p])
          for (int c = 0; c < d; c++)
            if (seen(x[r * d + c]) != (double)x[r * d + c]) of_x[r * d + c] = 0;
        continue;
      }
      for (int c = 0; c < d; c++) {
        const double v = b.row.p[c], normal = (double)at_wall[c] - (double)at_own[c], z = of_z[r * d + c];
        double of_v = ratio * z + 2 * b.of_square[p] * v + slope * normal;
        double of_centre = z;
        if (bisector) {
          const double of_offset = -slope * b.bisector[p] / 2, at_centre = cells.centres[own * d + c];
          facing[c] += slope * v + 2 * of_offset * (at_wall[c] - at_centre);
          own_anchor[c] -= slope * v + 2 * of_offset * (at_own[c] - at_centre);
          of_centre -= 2 * of_offset * normal;
          if (c == 0 && to_weights) to_weights[wall] -= of_offset, to_weights[own] += of_offset;
        } else if (wall >= k && (wall - k) / 2 == c) {
          const bool lower = (wall - k) % 2;
          const double room = room_of(cells, own, c, lower), by_room = by_gauge * b.gauge[p] / room;
          of_v += lower ? -by_gauge / room : by_gauge / room;
          of_centre += lower ? -by_room : by_room;
          (lower ? to_lower : to_upper)[c] += lower ? by_room : -by_room;
        }
        of_x[r * d + c] = b.moved[p] && seen(x[r * d + c]) != (double)x[r * d + c] ? 0 : (T)of_v;
        centre[c] += of_centre - of_v;
      }
    }
  }
}

// The walls that rays meet, for displacements in float64 ``(rows, n, d)``.
static void facing_rows(const Cells& every, const int64_t* index, const double* v, int64_t* wall, Block& b, int64_t n,
                        int64_t begin, int64_t end) {
  const One cells(every, n);
  const int d = cells.d;
  Search search(cells);
  for (int64_t row = begin; row < end; row += BLOCK) {
    b.m = (int)std::min<int64_t>(BLOCK, end - row);
    for (int p = 0; p < b.m; p++) {
      const size_t r = (size_t)(row + p) * every.n + n;
      b.own[p] = checked(index[r], cells.k);
      b.scale[p] = 1;
      for (int c = 0; c < d; c++) b.displacement.p[c * PITCH + p] = v[r * d + c];
    }
    b.fill();
    search.walls(cells, b);
    for (int p = 0; p < b.m; p++) wall[(size_t)(row + p) * every.n + n] = b.wall[p];
  }
}

static void locate_all(const Cells& cells, const void* x, int64_t* index, bool wide, const Pieces& pieces) {
  pieces.each([&](int64_t n, int64_t begin, int64_t end) {
    wide ? locate_rows(cells, n, (const double*)x, index, begin, end)
         : locate_rows(cells, n, (const float*)x, index, begin, end);
  });
}

static void facing_all(const Cells& cells, const int64_t* index, const double* v, int64_t* wall, const Pieces& pieces) {
  Block b((int)cells.d);
  pieces.each([&](int64_t n, int64_t begin, int64_t end) { facing_rows(cells, index, v, wall, b, n, begin, end); });
}

static void map_all(const Cells& cells, const Map& map, const Pieces& pieces) {
  Block b((int)cells.d);
  pieces.each([&](int64_t n, int64_t begin, int64_t end) {
    map.wide ? map_rows<double>(cells, map, b, n, begin, end) : map_rows<float>(cells, map, b, n, begin, end);
  });
}

static void map_backward_all(const Cells& cells, const Map& map, const Gradient& of, const Pieces& pieces) {
  Block b((int)cells.d);
  pieces.each([&](int64_t n, int64_t begin, int64_t end) {
    map.wide ? map_backward_rows<double>(cells, map, of, b, n, begin, end)
             : map_backward_rows<float>(cells, map, of, b, n, begin, end);
  });
}
