// Ridge regression at every λ from one singular value decomposition: C = ½Σ(y - b - x·w)² + (λ/2)Σw², b not penalised.
const BASES = {
  powers: (x, size) => Array.from({ length: size }, (_, k) => x ** (k + 1)),
  legendre: (x, size) => {
    const values = [1, x];
    for (let k = 1; k < size; k += 1) values.push(((2 * k + 1) * x * values[k] - k * values[k - 1]) / (k + 1));
    return values.slice(1, size + 1);
  },
  // Bumps whose centres stand evenly on [-1, 1], as wide as they are apart.
  bumps: (x, size) => {
    const apart = size > 1 ? 2 / (size - 1) : 2;
    return Array.from({ length: size }, (_, k) => Math.exp(-0.5 * ((x - (size > 1 ? -1 + k * apart : 0)) / apart) ** 2));
  },
};

const meanOf = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// X = U·diag(s)·Vᵀ by Hestenes' one-sided Jacobi rotations; columns is Xᵀ, a list of columns.
function singular(columns) {
  const u = columns.map((column) => Float64Array.from(column));
  const size = u.length;
  const v = Array.from({ length: size }, (_, i) => Float64Array.from({ length: size }, (_unused, j) => (i === j ? 1 : 0)));
  const dot = (a, b) => { let sum = 0; for (let i = 0; i < a.length; i += 1) sum += a[i] * b[i]; return sum; };
  const turn = (a, b, c, s) => { for (let i = 0; i < a.length; i += 1) { const [p, q] = [a[i], b[i]]; a[i] = c * p - s * q; b[i] = s * p + c * q; } };
  for (let sweep = 0, turned = true; sweep < 60 && turned; sweep += 1) {
    turned = false;
    for (let p = 0; p < size - 1; p += 1) {
      for (let q = p + 1; q < size; q += 1) {
        const [alpha, beta, gamma] = [dot(u[p], u[p]), dot(u[q], u[q]), dot(u[p], u[q])];
        if (Math.abs(gamma) > 1e-15 * Math.sqrt(alpha * beta)) {
          turned = true;
          const zeta = (beta - alpha) / (2 * gamma);
          const t = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
          const c = 1 / Math.sqrt(1 + t * t);
          turn(u[p], u[q], c, c * t);
          turn(v[p], v[q], c, c * t);
        }
      }
    }
  }
  const s = u.map((column) => Math.sqrt(dot(column, column)));
  const least = 1e-15 * Math.max(...s);
  return { s, v, u: u.map((column, i) => (s[i] > least ? column.map((value) => value / s[i]) : column.map(() => 0))) };
}

class Ridge {
  // features: rows of x; y: one number a row.
  constructor(features, y) {
    const size = features[0].length;
    this.means = Array.from({ length: size }, (_, k) => meanOf(features.map((row) => row[k])));
    this.mean = meanOf(y);
    const { s, u, v } = singular(this.means.map((mean, k) => features.map((row) => row[k] - mean)));
    this.s = s;
    this.v = v;
    this.uy = u.map((column) => column.reduce((sum, value, i) => sum + value * (y[i] - this.mean), 0));
  }

  // The weights and the bias at λ.
  at(lambda) {
    const w = new Array(this.s.length).fill(0);
    this.s.forEach((s, i) => {
      const part = s * this.uy[i] / (s * s + lambda || 1);
      this.v[i].forEach((value, k) => { w[k] += value * part; });
    });
    return { w, b: this.mean - w.reduce((sum, value, k) => sum + value * this.means[k], 0) };
  }

  // Effective degrees of freedom: the bias, and Σ s²/(s² + λ).
  freedom(lambda) { return 1 + this.s.reduce((sum, s) => sum + (s === 0 ? 0 : s * s / (s * s + lambda)), 0); }
}

const fitted = ({ w, b }, row) => w.reduce((sum, value, k) => sum + value * row[k], b);
