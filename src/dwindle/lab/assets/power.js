// Powers and half cosines out of additions and multiplications alone, as dwindle.elementary: the same bits as Python's.
const SPLIT = 67108864;

// sin²(π/2 · part/whole) for 0 <= part <= whole/2
function sinSquared(part, whole) {
  const t = (part * part) / (whole * whole);
  let p = -0.0009647871200835576 + t * (5.2318817170362996e-05 + t * (-2.150601860425807e-06 + t * 6.739527418179059e-08));
  p = 0.6676313844272912 + t * (-0.11766531517930116 + t * (0.012903445692013642 + t * p));
  return t * (2.4674011002723395 + (1.5658117797683403e-16 + t * (-2.0293560632083842 + t * p)));
}

const keptParts = new Map();

// log2(base)/divisor in three pieces, whose products with a step lose nothing, and the exponent at which counting stops.
function powerParts(base, divisor = 1) {
  const key = `${base}/${divisor}`;
  if (!keptParts.has(key)) {
    const one = 1n << FIXED;
    const exact = fixedLog2(base, divisor);
    const float = (fixed) => ratio(fixed, one);
    const fixed = (value) => { const { n, d } = fraction(value); return (n << FIXED) / d; };
    const high = leadingBits(float(exact));
    const middle = leadingBits(float(exact - fixed(high)));
    const low = float(exact - fixed(high) - fixed(middle));
    const edge = exact < 0n ? 1100 : 1023;
    if (keptParts.size > 4096) keptParts.clear();
    keptParts.set(key, { high, middle, low, largest: exact === 0n ? Infinity : edge / Math.abs(float(exact)) });
  }
  return keptParts.get(key);
}

const HALVES = 6755399441055744; // 1.5 · 2^52: adding it rounds to the nearest whole number, halves to even

function lessOne({ high, middle, low, largest }, exponent) {
  const n = Math.min(Math.max(exponent, 0), largest);
  const fine = n % SPLIT;
  const coarse = n - fine;
  const k = (n * (high + middle) + HALVES) - HALVES;
  const r = ((coarse * high - k) + fine * high) + (coarse * middle + fine * middle) + n * low;
  let q = 1.321544258792169e-06 + r * (1.0178062445845774e-07 + r * (7.072585949269223e-09 + r * 4.4549605981865186e-10));
  q = 0.0013333558146416936 + r * (0.0001540353044173605 + r * (1.525273382983612e-05 + r * q));
  q = 0.6931471805599453 + r * (0.24022650695910097 + r * (0.0555041086648216 + r * (0.009618129107606888 + r * q)));
  return [r * q, k];
}

// base^(exponent/divisor) for exponent >= 0
function power(pieces, exponent) {
  const [less, k] = lessOne(pieces, exponent);
  return scaleBy(1 + less, k);
}

function powerLessOne(pieces, exponent) {
  const [less, k] = lessOne(pieces, exponent);
  return scaleBy(less, k) + (scaleBy(1, k) - 1);
}

// floor(a / b) and a mod b as Python has them, for whole numbers and floats alike.
function modulo(a, b) {
  const rest = a % b;
  return rest !== 0 && (rest < 0) !== (b < 0) ? rest + b : rest;
}

function floorDivide(a, b) {
  const quotient = (a - modulo(a, b)) / b;
  const whole = Math.floor(quotient);
  return quotient - whole > 0.5 ? whole + 1 : whole;
}
