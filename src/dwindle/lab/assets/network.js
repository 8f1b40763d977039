// A small network, inputs - hidden (relu) - outputs (softmax), trained by mini-batches in float64 as dwindle.population trains it.
class Network {
  // weights: [W1 (inputs × hidden), W2 (hidden × outputs)] in rows of the input side; biases start at 0.
  constructor(sizes, weights) {
    this.sizes = sizes;
    this.w = weights.map((one) => Float64Array.from(one));
    this.b = sizes.slice(1).map((size) => new Float64Array(size));
    this.dw = this.w.map((one) => new Float64Array(one.length));
    this.db = this.b.map((one) => new Float64Array(one.length));
    [this.hidden, this.out] = sizes.slice(1).map((size) => new Float64Array(size));
    this.back = new Float64Array(sizes[1]);
  }

  // He et al. 2015 before the relu, LeCun et al. 1998 before the output.
  static drawn(sizes, seed) {
    const random = new Random(seed, 3);
    return new Network(sizes, [2, 1].map((gain, layer) => Float64Array.from({ length: sizes[layer] * sizes[layer + 1] }, () => random.normal() * Math.sqrt(gain / sizes[layer]))));
  }

  // Fill hidden and out (probabilities) for one image; return ln Σ exp z - z[label], its loss.
  forward(x, label) {
    const { hidden, out, w: [w1, w2], b: [b1, b2] } = this;
    const [units, outputs] = [hidden.length, out.length];
    hidden.set(b1);
    for (let i = 0; i < x.length; i += 1) {
      const value = x[i];
      if (value !== 0) for (let j = 0, at = i * units; j < units; j += 1, at += 1) hidden[j] += value * w1[at];
    }
    out.set(b2);
    for (let j = 0; j < units; j += 1) {
      if (hidden[j] <= 0) hidden[j] = 0;
      else for (let k = 0, at = j * outputs; k < outputs; k += 1, at += 1) out[k] += hidden[j] * w2[at];
    }
    let top = out[0];
    for (let k = 1; k < outputs; k += 1) if (out[k] > top) top = out[k];
    const own = out[label] - top;
    let sum = 0;
    for (let k = 0; k < outputs; k += 1) { out[k] = Math.exp(out[k] - top); sum += out[k]; }
    for (let k = 0; k < outputs; k += 1) out[k] /= sum;
    return Math.log(sum) - own;
  }

  // One step on the images of `rows`: w ← shrink·w - lr·(∂C0/∂w + l2·w); biases neither shrink nor carry l2.
  step(images, labels, rows, { lr, shrink, l2 }) {
    const { hidden, out, back, dw: [d1, d2], db: [e1, e2], w: [, w2] } = this;
    const [units, outputs] = [hidden.length, out.length];
    [d1, d2, e1, e2].forEach((one) => one.fill(0));
    rows.forEach((row) => {
      const x = images[row];
      this.forward(x, labels[row]);
      out[labels[row]] -= 1;
      for (let k = 0; k < outputs; k += 1) e2[k] += out[k];
      for (let j = 0; j < units; j += 1) {
        back[j] = 0;
        if (hidden[j] > 0) {
          for (let k = 0, at = j * outputs; k < outputs; k += 1, at += 1) { d2[at] += hidden[j] * out[k]; back[j] += out[k] * w2[at]; }
          e1[j] += back[j];
        }
      }
      for (let i = 0; i < x.length; i += 1) {
        const value = x[i];
        if (value !== 0) for (let j = 0, at = i * units; j < units; j += 1, at += 1) d1[at] += value * back[j];
      }
    });
    const each = 1 / rows.length;
    this.w.forEach((w, layer) => {
      const [d, b, e] = [this.dw[layer], this.b[layer], this.db[layer]];
      for (let i = 0; i < w.length; i += 1) w[i] = shrink * w[i] - lr * (d[i] * each + l2 * w[i]);
      for (let i = 0; i < b.length; i += 1) b[i] -= lr * e[i] * each;
    });
  }

  evaluate(images, labels) {
    let loss = 0;
    let right = 0;
    images.forEach((x, row) => {
      loss += this.forward(x, labels[row]);
      right += this.answer() === labels[row] ? 1 : 0;
    });
    return { loss: loss / images.length, accuracy: right / images.length };
  }

  answer() { return this.out.reduce((best, value, k) => (value > this.out[best] ? k : best), 0); }
  norm() { return Math.sqrt(this.w.reduce((sum, w) => sum + w.reduce((part, value) => part + value * value, 0), 0)); }
}

// A whole training, an epoch at a time: the plan's rates, the order of the examples drawn anew each epoch.
class Training {
  constructor({ plan, epochs, batch, hidden, seed, train, validation, network, order }) {
    Object.assign(this, { epochs, batch, train, validation });
    this.perEpoch = Math.ceil(train.images.length / batch);
    this.run = horizon(epochs * this.perEpoch, { steps_per_epoch: this.perEpoch, batch_size: batch });
    this.plan = parsePlan(plan).resolve(this.run);
    this.network = network || Network.drawn([train.images[0].length, hidden, 10], seed);
    this.order = order || ((epoch) => new Random(seed, 100 + epoch).permutation(train.images.length));
    this.epoch = 0;
    this.done = 0;
    this.history = [this.measure()];
  }

  get ended() { return this.epoch >= this.epochs; }

  measure() {
    const [train, validation] = [this.train, this.validation].map(({ images, labels }) => this.network.evaluate(images, labels));
    return { epoch: this.epoch, train: train.loss, validation: validation.loss, trainAccuracy: train.accuracy, accuracy: validation.accuracy, norm: this.network.norm(),
      lr: this.plan.dose(Math.max(0, this.done - 1)).lr };
  }

  nextEpoch() {
    const order = this.order(this.epoch);
    for (let start = 0; start < order.length; start += this.batch) {
      const { lr, share, l2 } = this.plan.dose(this.done);
      this.network.step(this.train.images, this.train.labels, order.slice(start, start + this.batch), { lr, shrink: 1 - share, l2 });
      this.done += 1;
    }
    this.epoch += 1;
    const seen = this.measure();
    this.history.push(seen);
    return seen;
  }

  // What the network says of the first images of the validation set: [label, chance] each.
  answers(size) {
    return this.validation.images.slice(0, size).map((x, row) => {
      this.network.forward(x, this.validation.labels[row]);
      const best = this.network.answer();
      return [best, this.network.out[best]];
    });
  }
}
