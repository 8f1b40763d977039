// Noisy points of a curve, a fit to them, and its error on the points and on new ones.
const TRUTHS = {
  wave: (x) => Math.sin(Math.PI * 1.5 * x) * 0.8 + 0.3 * x,
  hill: (x) => 1.4 * Math.exp(-8 * (x - 0.2) ** 2) - 0.4,
  step: (x) => Math.tanh(8 * x) * 0.7,
};
const GRID = Array.from({ length: 301 }, (_, i) => -1 + i / 150);

// x is spread over [-1, 1], one point in each of `size` equal stretches; y = truth + noise·N(0, 1).
function noisyPoints({ truth, size, noise, seed }) {
  const random = new Random(seed, 1);
  const x = Array.from({ length: size }, (_, i) => -1 + 2 * (i + random.uniform()) / size);
  return { x, y: x.map((at) => TRUTHS[truth](at) + noise * random.normal()) };
}

const rootMean = (values) => Math.sqrt(meanOf(values.map((value) => value * value)));

class CurveFit {
  constructor(setting) {
    this.setting = setting;
    const { truth, basis, degree, noise } = setting;
    const features = (x) => BASES[basis](x, degree);
    this.points = noisyPoints(setting);
    this.rows = this.points.x.map(features);
    this.grid = GRID.map(features);
    this.truth = GRID.map(TRUTHS[truth]);
    this.noise = noise;
    this.ridge = new Ridge(this.rows, this.points.y);
  }

  // train: root mean squared error on the points; test: the one to expect on new points, √(mean (fit - truth)² + noise²).
  at(lambda) {
    const model = this.ridge.at(lambda);
    const line = this.grid.map((row) => fitted(model, row));
    const train = rootMean(this.rows.map((row, i) => fitted(model, row) - this.points.y[i]));
    const off = rootMean(line.map((value, i) => value - this.truth[i]));
    return { ...model, line, train, test: Math.hypot(off, this.noise), freedom: this.ridge.freedom(lambda) };
  }
}
