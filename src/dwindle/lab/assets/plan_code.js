// From disk: code that applies a plan by dwindle's own adapters, and the command that writes a framework's own.
const FRAMEWORKS = [["torch", "PyTorch"], ["optax", "optax"], ["keras", "Keras"], ["hf", "Hugging Face"], ["timm", "timm"], ["sklearn", "scikit-learn"], ["composer", "Composer"]];

function adapterCode(framework, plan, run) {
  const text = asciiString(String(plan));
  const size = Object.entries(run).filter(([, value]) => value !== null).map(([name, value]) => `${name}=${value}`).join(", ");
  const head = `plan = dw.parse(${text})\nrun = dw.Horizon(${size})\n`;
  const Adam = plan.decay && plan.decay.convention !== "l2";
  const torch = `import torch\nimport dwindle as dw\n\n${head}optimiser = torch.optim.${Adam ? "AdamW" : "SGD"}(model.named_parameters())\n`;
  const bodies = {
    torch: `${torch}control = dw.torch.attach(optimiser, plan, run)  # from here: loss.backward(); optimiser.step(); optimiser.zero_grad()\n`,
    timm: `${torch}control = dw.torch.attach(optimiser, plan, run)  # in the place of timm's scheduler: call no scheduler.step()\n`,
    hf: `${torch}trainer = transformers.Trainer(model, args, optimizers=dw.torch.trainer.pair(optimiser, plan, run, model=model))\n`,
    optax: `import dwindle as dw\n\n${head}tx = dw.jax.${Adam ? "adamw" : "sgd"}(plan, run)  # an optax transformation\n`,
    keras: `import keras\nimport dwindle as dw\n\n${head}net.compile(dw.keras.attach(keras.optimizers.${Adam ? "Adam" : "SGD"}(), plan, run), "mse")\n`,
  };
  return bodies[framework] || null;
}

// A shell's single quotes, for the plan's text as one word.
const shellWord = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const convertCommand = (framework, plan, run) => `dwindle convert ${shellWord(String(plan))} --to ${framework} ${Object.entries(run).filter(([, value]) => value !== null).map(([name, value]) => `--${name.replaceAll("_", "-")} ${value}`).join(" ")}`;
