// The words of the schedules: for each the value it builds and the options it takes, {word: [field, how it is read]}.
const WARP = { power: ["power", "number"], warp: ["warp", "number"], ratio: ["ratio", "number"] };
const ENDS = { to: ["end", "level"], from: ["start", "level"], over: ["steps", "time"], ...WARP };
const RATE = { by: ["decay_rate", "factor"], every: ["every", "time"], growing: ["allow_growth", "yes"] };
const LAW = { every: ["every", "time"], rate: ["rate", "number"], staircase: ["staircase", "yes"] };
const SHAPE = { shape: ["shape", "name"] };
const made = (Kind) => (options) => new Kind(options);
const RAMP = { make: made(Ramp), options: ENDS };

const SHAPES = {
  constant: { make: made(Constant), options: { at: ["factor", "level"] } },
  warmup: { make: made(Ramp), options: { "": ["steps", "time"], ...SHAPE, ...ENDS }, fixed: { start: 0, end: 1 } },
  ramp: { make: made(Ramp), options: { ...SHAPE, ...ENDS } },
  ...Object.fromEntries(["linear", "cosine", "sqrt", "square", "geometric", "1-sqrt", "1-square"].map((shape) => [shape, { make: made(Ramp), options: ENDS, fixed: { shape } }])),
  polynomial: { make: made(Ramp), options: ENDS, fixed: { power: 2 } },
  tanh: { make: made(Tanh), options: { to: ["end", "level"], over: ["steps", "time"], lower: ["lower", "number"], upper: ["upper", "number"], warp: ["warp", "number"] } },
  exponential: { make: made(Exponential), options: { ...RATE, staircase: ["staircase", "yes"] }, needs: ["by 0.96", "every 1000st"] },
  step: { make: made(Exponential), options: RATE, fixed: { staircase: true }, needs: ["by 0.5", "every 5ep"] },
  halve: { make: made(Exponential), options: { every: ["every", "time"] }, fixed: { decay_rate: 0.5, staircase: true }, needs: ["every 5ep"] },
  "inverse-time": { make: made(PowerLaw), options: LAW, fixed: { exponent: 1 } },
  "inverse-sqrt": { make: made(PowerLaw), options: LAW, fixed: { exponent: 0.5 } },
  "power-law": { make: made(PowerLaw), options: { "": ["exponent", "number"], ...LAW }, needs: [" 0.25", "every 100st"] },
  piecewise: { make: made(Piecewise), options: { at: ["boundaries", "times"], factors: ["factors", "factors"] }, needs: ["at [5ep 10ep]", "factors [1 0.5 0.1]"] },
  through: { make: made(Interpolate), options: { "": ["at", "times"], factors: ["factors", "factors"], ...SHAPE }, needs: [" [0st 100st]", "factors [0 1]"] },
  formula: { make: made(Formula), options: { "": ["text", "string"] }, needs: [' "0.5 ** (step // 30)"'] },
  table: { make: made(Table), options: { "": ["factors", "factors"], every: ["every", "steps"] }, needs: [" [1 0.5 0.1]"] },
};

const wrapping = (Kind) => (options, schedule) => new Kind(schedule, options);
const WRAPS = {
  shift: { make: wrapping(Shift), options: { "": ["steps", "time"] }, needs: [" 100st"] },
  stretch: { make: wrapping(Stretch), options: { "": ["by", "number"] }, needs: [" 2"] },
  clip: { make: wrapping(Clip), options: { "": ["low", "level"], to: ["high", "level"] }, needs: [" 0.1"] },
  repeat: { make: wrapping(Repeat), options: { every: ["every", "time"], growth: ["growth", "number"], decay: ["decay", "number"], cycles: ["cycles", "number"] } },
  mirror: { make: wrapping(Mirror), options: { every: ["every", "time"] } },
  extend: { make: wrapping(Extend), options: { every: ["every", "time"] } },
};

const ALONE = { join: (one) => new Join([one]), sum: (one) => new Sum([one]), product: (one) => new Product([one]) };
const SPELLED_OUT = {
  wsd: "warmup 2%, constant, linear to 0% over 20%",
  "one-cycle": "warmup 30% from 4% shape cosine, cosine to 0.004%",
  onecycle: "warmup 30% from 4% shape cosine, cosine to 0.004%",
};
