// Gradient descent where a learning rate that stays high rattles: a noisy quadratic, and a steep valley.
const VALLEYS = {
  // C = ½Σ h·w², the gradient with noise N(0, σ²) in each direction: E C settles at Σ ησ²/(2(2 - ηh)).
  noisy: {
    start: [2.2, 3.2],
    h: [4, 0.5],
    loss(w) { return 0.5 * (this.h[0] * w[0] ** 2 + this.h[1] * w[1] ** 2); },
    gradient(w, noise, random) { return w.map((value, i) => this.h[i] * value + noise * random.normal()); },
    floor(lr, noise) { return this.h.reduce((sum, h) => sum + (lr * h < 2 ? lr * noise ** 2 / (2 * (2 - lr * h)) : Infinity), 0); },
    level(size) { return Array.from({ length: 65 }, (_, i) => [Math.cos(i * Math.PI / 32) * Math.sqrt(2 * size / this.h[0]), Math.sin(i * Math.PI / 32) * Math.sqrt(2 * size / this.h[1])]); },
  },
  // C = s·|w1| + ½c·w2²: across the valley every step is η·s long, so it ends in jumping between two losses whose mean is ηs²/2.
  steep: {
    start: [2.03, 3.2],
    s: 2,
    c: 0.5,
    loss(w) { return this.s * Math.abs(w[0]) + 0.5 * this.c * w[1] ** 2; },
    gradient(w) { return [this.s * Math.sign(w[0]), this.c * w[1]]; },
    floor(lr) { return lr * this.s ** 2 / 2; },
    level(size) {
      const side = Array.from({ length: 33 }, (_, i) => (i / 16 - 1) * Math.sqrt(2 * size / this.c));
      return [...side.map((y) => [(size - 0.5 * this.c * y * y) / this.s, y]), ...side.reverse().map((y) => [-(size - 0.5 * this.c * y * y) / this.s, y])];
    },
  },
};

// The run: w before each step and after the last, its loss, and what the loss should be on average (noisy) or around (steep).
function descend({ valley, noise, seed, lrs }) {
  const place = VALLEYS[valley];
  const random = new Random(seed, 2);
  let w = [...place.start];
  let squares = place.start.map((value) => value * value); // E w²
  const path = [w];
  const loss = [place.loss(w)];
  const expected = [valley === "noisy" ? loss[0] : null];
  lrs.forEach((lr) => {
    const gradient = place.gradient(w, noise, random);
    w = w.map((value, i) => value - lr * gradient[i]);
    path.push(w);
    loss.push(place.loss(w));
    if (valley === "noisy") {
      squares = squares.map((square, i) => (1 - lr * place.h[i]) ** 2 * square + (lr * noise) ** 2);
      expected.push(squares.reduce((sum, square, i) => sum + 0.5 * place.h[i] * square, 0));
    } else expected.push(null);
  });
  return { path, loss, expected };
}
