// Rational-quadratic splines (Durkan et al., 2019), as zuko has them. Included after lanes.h.
// Between two knots, with z the share of the way, s the mean slope and r = z (1 - z):
//   y = y0 + h a / b,  a = s z^2 + d0 r,  b = s + (d0 + d1 - 2 s) r,
//   dy/dx = s^2 n / b^2,  n = 2 s r + d0 (1 - z)^2 + d1 z^2.

// What of LANES points is in the bins that they fall into.
struct Bin {
  Doubles number, x0, width, y0, height, d0, d1;
  Longs inside;
};

// Parameters of LANES points, one after another, made into bins: shares of the widths and heights, and slopes at knots.
struct Bins {
  const int bins;
  const double squash;  // -1 / log(least slope): numbers are bounded by it
  Buffer<double> given_width, given_height, given_slope, width, height, slope;

  Bins(int bins, double least)
      : bins(bins),
        squash(-1 / std::log(least)),
        given_width((size_t)bins * LANES),
        given_height((size_t)bins * LANES),
        given_slope((size_t)bins * LANES),
        width((size_t)bins * LANES),
        height((size_t)bins * LANES),
        slope((size_t)bins * LANES) {}

  // Where z / (1 + c |z|) is differentiated, 1 / (1 + c |z|)^2.
  static Doubles squashed(Doubles z, double c) { return z / (1.0 + c * size(z)); }
  static Doubles derivative(Doubles z, double c) {
    const Doubles flat = 1.0 + c * size(z);
    return 1.0 / (flat * flat);
  }

  void read(const Splines& all_splines, int64_t first, int points) {
    take(all_splines.widths, given_width, first, points, bins);
    take(all_splines.heights, given_height, first, points, bins);
    take(all_splines.slopes, given_slope, first, points, bins - 1);
    shares(given_width, width);
    shares(given_height, height);
    for (int j = 0; j < bins - 1; j++)
      at(slope.p + j * LANES) = exponential_of_any(squashed(at(given_slope.p + j * LANES), squash));
  }

  void take(const float* from, Buffer<double>& to, int64_t first, int points, int count) {
    for (int l = 0; l < LANES; l++) {
      const float* row = from + (first + std::min(l, points - 1)) * count;
      for (int j = 0; j < count; j++) to.p[j * LANES + l] = row[j];
    }
  }

  void shares(const Buffer<double>& from, Buffer<double>& to) {
    Doubles greatest = all(-std::numeric_limits<double>::infinity()), sum = all(0.0);
    for (int j = 0; j < bins; j++) {
      at(to.p + j * LANES) = squashed(at(from.p + j * LANES), 2 * squash);
      greatest = most(greatest, at(to.p + j * LANES));
    }
    for (int j = 0; j < bins; j++) {
      const Doubles e = exponential(at(to.p + j * LANES) - greatest);
      at(to.p + j * LANES) = e;
      sum += e;
    }
    for (int j = 0; j < bins; j++) at(to.p + j * LANES) = at(to.p + j * LANES) / sum;
  }

  Bin find(Doubles x, double bound) const {
    Bin bin;
    bin.number = all(-1.0);
    bin.x0 = bin.y0 = all(0.0);
    bin.width = bin.height = bin.d0 = bin.d1 = all(1.0);
    Doubles left = all(-bound), low = all(-bound);
    Longs beyond = x > left;
    for (int j = 0; j < bins; j++) {
      const Doubles w = 2 * bound * at(width.p + j * LANES), h = 2 * bound * at(height.p + j * LANES);
      const Doubles right = j == bins - 1 ? all(bound) : left + w;
      const Longs past = x > right, here = beyond & ~past;
      bin.number = here ? all((double)j) : bin.number;
      bin.x0 = here ? left : bin.x0;
      bin.width = here ? w : bin.width;
      bin.y0 = here ? low : bin.y0;
      bin.height = here ? h : bin.height;
      if (j) bin.d0 = here ? at(slope.p + (j - 1) * LANES) : bin.d0;
      if (j < bins - 1) bin.d1 = here ? at(slope.p + j * LANES) : bin.d1;
      left = right;
      low = low + h;
      beyond = past;
    }
    bin.inside = bin.number >= 0.0;
    return bin;
  }
};

static void spline_all(const Splines& splines, const Pieces& pieces) {
  Bins bins((int)splines.bins, splines.least);
  pieces.each([&](int64_t, int64_t begin, int64_t end) {
    for (int64_t first = begin; first < end; first += LANES) {
      const int points = (int)std::min<int64_t>(LANES, end - first);
      bins.read(splines, first, points);
      Doubles x{};
      for (int l = 0; l < LANES; l++) x[l] = splines.x[first + std::min(l, points - 1)];
      const Bin bin = bins.find(x, splines.bound);
      const Doubles s = bin.height / bin.width, z = (x - bin.x0) / bin.width, r = z * (1.0 - z);
      const Doubles a = s * z * z + bin.d0 * r, b = s + (bin.d0 + bin.d1 - 2.0 * s) * r;
      const Doubles n = 2.0 * s * r + bin.d0 * (1.0 - z) * (1.0 - z) + bin.d1 * z * z;
      const Doubles y = bin.inside ? bin.y0 + bin.height * a / b : x;
      const Doubles slope = s * s * n / (b * b);
      const Doubles log_slope = bin.inside ? logarithm(bin.inside ? slope : all(1.0)) : all(0.0);
      for (int l = 0; l < points; l++) {
        splines.y[first + l] = (float)y[l];
        splines.log_slope[first + l] = (float)log_slope[l];
      }
    }
  });
}

// Gradients: of y and the log-slope given; of x and of the parameters, which are overwritten.
static void spline_backward_all(const Splines& splines, const SplineGradient& of, const Pieces& pieces) {
  const int count = (int)splines.bins;
  Bins bins(count, splines.least);
  auto put = [&](const Buffer<double>& given, const Buffer<double>& share, float* to, Doubles number, Doubles start,
                 Doubles size_of, int64_t first, int points) {
    // A share moves the start of all bins behind it, and is the size of its own.
    Doubles mean = all(0.0);
    for (int j = 0; j < count; j++) {
      const Doubles own = number > (double)j ? start : number == (double)j ? size_of : all(0.0);
      mean += at(share.p + j * LANES) * own;
    }
    for (int j = 0; j < count; j++) {
      const Doubles own = number > (double)j ? start : number == (double)j ? size_of : all(0.0);
      const Doubles g = at(share.p + j * LANES) * (own - mean) * Bins::derivative(at(given.p + j * LANES), 2 * bins.squash);
      for (int l = 0; l < points; l++) to[(first + l) * count + j] = (float)g[l];
    }
  };
  pieces.each([&](int64_t, int64_t begin, int64_t end) {
    for (int64_t first = begin; first < end; first += LANES) {
      const int points = (int)std::min<int64_t>(LANES, end - first);
      bins.read(splines, first, points);
      Doubles x{}, gy{}, gl{};
      for (int l = 0; l < LANES; l++) {
        const int64_t row = first + std::min(l, points - 1);
        x[l] = splines.x[row], gy[l] = of.y[row], gl[l] = of.log_slope[row];
      }
      const Bin bin = bins.find(x, splines.bound);
      const Doubles w = bin.width, h = bin.height, d0 = bin.d0, d1 = bin.d1;
      const Doubles s = h / w, z = (x - bin.x0) / w, r = z * (1.0 - z), other = 1.0 - z;
      const Doubles a = s * z * z + d0 * r, b = s + (d0 + d1 - 2.0 * s) * r;
      const Doubles n = 2.0 * s * r + d0 * other * other + d1 * z * z;
      const Doubles ga = gy * h / b, gb = -gy * h * a / (b * b) - 2.0 * gl / b, gn = gl / n;
      const Doubles gs = ga * z * z + gb * (1.0 - 2.0 * r) + 2.0 * gn * r + 2.0 * gl / s;
      const Doubles gr = ga * d0 + gb * (d0 + d1 - 2.0 * s) + 2.0 * gn * s;
      const Doubles gz = 2.0 * ga * s * z + 2.0 * gn * (d1 * z - d0 * other) + gr * (1.0 - 2.0 * z);
      const Doubles gd0 = (ga + gb) * r + gn * other * other, gd1 = gb * r + gn * z * z;
      const double length = 2 * splines.bound;
      const Doubles none = all(0.0);
      const Doubles gx0 = bin.inside ? -length * gz / w : none;
      const Doubles gw = bin.inside ? -length * (gs * s + gz * z) / w : none;
      const Doubles gy0 = bin.inside ? length * gy : none, gh = bin.inside ? length * (gy * a / b + gs / w) : none;
      put(bins.given_width, bins.width, of.widths, bin.number, gx0, gw, first, points);
      put(bins.given_height, bins.height, of.heights, bin.number, gy0, gh, first, points);
      for (int j = 0; j < count - 1; j++) {
        const Doubles own = bin.number == j + 1.0 ? gd0 : bin.number == (double)j ? gd1 : none;
        const Doubles g = own * at(bins.slope.p + j * LANES) *
                          Bins::derivative(at(bins.given_slope.p + j * LANES), bins.squash);
        for (int l = 0; l < points; l++) of.slopes[(first + l) * (count - 1) + j] = (float)g[l];
      }
      const Doubles gx = bin.inside ? gz / w : gy;
      for (int l = 0; l < points; l++) of.x[first + l] = (float)gx[l];
    }
  });
}
