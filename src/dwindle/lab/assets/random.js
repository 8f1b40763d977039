// Seeded random numbers: sfc32 (Doty-Humphrey, PractRand), its state stirred from one whole number.
class Random {
  constructor(seed, stream = 0) {
    this.state = new Uint32Array([seed, seed / 2 ** 32, stream, 1]);
    this.spare = null;
    for (let i = 0; i < 20; i += 1) this.word();
  }

  word() {
    const s = this.state;
    const sum = (s[0] + s[1] + s[3]) >>> 0;
    s[3] += 1;
    s[0] = s[1] ^ (s[1] >>> 9);
    s[1] = s[2] + (s[2] << 3);
    s[2] = ((s[2] << 21) | (s[2] >>> 11)) + sum;
    return sum;
  }

  uniform() { return ((this.word() >>> 5) * 67108864 + (this.word() >>> 6)) / 9007199254740992; }

  // A standard normal number, by Box and Muller.
  normal() {
    if (this.spare !== null) { const kept = this.spare; this.spare = null; return kept; }
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  permutation(size) {
    const order = Array.from({ length: size }, (_, i) => i);
    for (let i = size - 1; i > 0; i -= 1) {
      const j = Math.floor(this.uniform() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }
}
