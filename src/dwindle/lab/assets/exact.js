// Exact arithmetic on floats with BigInt: fractions for times, and log2 to some 100 digits for powers.
const float64 = new DataView(new ArrayBuffer(8));

// value = mantissa · 2^exponent, both whole.
function parts(value) {
  float64.setFloat64(0, value);
  const bits = float64.getBigUint64(0);
  const raw = Number((bits >> 52n) & 2047n);
  const mantissa = (bits & ((1n << 52n) - 1n)) | (raw ? 1n << 52n : 0n);
  return [value < 0 ? -mantissa : mantissa, (raw || 1) - 1075];
}

function fraction(value) {
  const [mantissa, exponent] = parts(value);
  return exponent < 0 ? { n: mantissa, d: 1n << BigInt(-exponent) } : { n: mantissa << BigInt(exponent), d: 1n };
}

const floorDivided = (n, d) => (n >= 0n ? n / d : -((-n + d - 1n) / d));
const nearestWhole = ({ n, d }) => Number(floorDivided(2n * n + d, 2n * d));
const bitsIn = (n) => n.toString(2).length;

// The float nearest to n/d.
function ratio(n, d) {
  if (n < 0n) return -ratio(-n, d);
  if (n === 0n) return 0;
  const shift = Math.max(0, 70 - bitsIn(n) + bitsIn(d));
  const scaled = n << BigInt(shift);
  const quotient = scaled / d;
  return scaleBy(Number(quotient * d === scaled ? quotient : quotient | 1n), -shift);
}

// The largest float up to the fraction: a step on the edge of a period is then in the new one.
function notBeyond({ n, d }) {
  const value = ratio(n, d);
  const { n: a, d: b } = fraction(Math.abs(value));
  return a * d > (n < 0n ? -n : n) * b ? towardsZero(value) : value;
}

function towardsZero(value) {
  float64.setFloat64(0, value);
  float64.setBigUint64(0, float64.getBigUint64(0) - 1n);
  return float64.getFloat64(0);
}

// x · 2^k, rounded once.
function scaleBy(x, k) {
  if (k < -1022) return k < -2070 ? 0 : x * 2 ** -1000 * 2 ** (k + 1000);
  return k > 1023 ? x * 2 ** 1023 * 2 ** (k - 1023) : x * 2 ** k;
}

function leadingBits(value, bits = 26) {
  if (value === 0) return 0;
  const exponent = bitsIn(parts(Math.abs(value))[0]) + parts(value)[1];
  return scaleBy(Math.trunc(scaleBy(value, bits - exponent)), exponent - bits);
}

const FIXED = 400n; // bits after the point

// 2^400 · ln(n/d) for n/d near 1: 2·atanh((n - d)/(n + d)).
function fixedLog(n, d) {
  const z = ((n - d) << FIXED) / (n + d);
  const square = (z * z) >> FIXED;
  let term = z;
  let sum = 0n;
  for (let odd = 1n; term !== 0n && term !== -1n; odd += 2n) {
    sum += term / odd;
    term = (term * square) >> FIXED;
  }
  return 2n * sum;
}

const LN2 = fixedLog(2n, 1n);

// 2^400 · log2(base)/divisor, of floats above 0.
function fixedLog2(base, divisor) {
  const [mantissa, exponent] = parts(base);
  let places = BigInt(bitsIn(mantissa) - 1);
  if (mantissa * mantissa > 2n << (2n * places)) places += 1n; // the nearer power of two
  const whole = (BigInt(exponent) + places) << FIXED;
  const rest = (fixedLog(mantissa, 1n << places) << FIXED) / LN2;
  const { n, d } = fraction(divisor);
  return ((whole + rest) * d) / n;
}
