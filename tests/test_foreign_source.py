"""Source that people write: what it does is read, and what cannot be read is refused and never passed over."""

from __future__ import annotations

import ast
import inspect
from dataclasses import replace
from typing import Any

import optax
import pytest
import torch

import dwindle as dw
from dwindle import foreign
from dwindle.errors import DwindleError, NoExactMapError
from dwindle.foreign.source import counting, unread
from dwindle.foreign.source.own import Comment
from dwindle.foreign.source.positions import POSITIONS
from dwindle.foreign.writing.draft import Draft
from dwindle.schedule.feedback import FeedbackRule

READ = {
    (
        "import torch\nkw = dict(lr=0.1, weight_decay=1e-4); opt=torch.optim.SGD(p, **kw)"
    ): 'peak 0.1 | constant | l2 1e-4 | mask name "*" decays',
    (
        "import torch\nkw = {'lr':0.1, 'weight_decay':1e-4}\nopt=torch.optim.SGD(p, **kw)"
    ): 'peak 0.1 | constant | l2 1e-4 | mask name "*" decays',
    ("import torch\no=torch.optim.SGD(p, 0.1, 0.9, 0, 1e-4)"): 'peak 0.1 | constant | l2 1e-4 | mask name "*" decays',
    (
        "import torch\no=torch.optim.Adam(p, 1e-3, (.9,.999), 1e-8, 1e-4)"
    ): 'peak 1e-3 | constant | l2 1e-4 | mask name "*" decays',
    (
        "import torch\no=torch.optim.AdamW(p, 1e-3, (.9,.999), 1e-8, .1)"
    ): 'peak 1e-3 | constant | decoupled 0.1 | mask name "*" decays',
    ("torch.optim.SGD(p, 0.1, 0.9, 0, 1e-4)"): 'peak 0.1 | constant | l2 1e-4 | mask name "*" decays',
    (
        "import torch\no=torch.optim.SGD([{'params':biases,'weight_decay':0.},{'params':b}], lr=0.1, weight_decay=0.01)"
    ): "peak 0.1 | constant | l2 0.01",
    ("import torch\no=torch.optim.SGD(a, lr=0.1)\no.add_param_group({'params':b})"): "peak 0.1 | constant",
    (
        "import torch\n"
        "learning_rate=6e-4\n"
        "def get_lr(it):\n"
        "  return learning_rate*min(1,it/100)\n"
        "opt=torch.optim.AdamW(a, lr=learning_rate)\n"
        "while True:\n"
        "  lr = get_lr(it)\n"
        "  for param_group in opt.param_groups:\n"
        "    param_group['lr'] = lr"
    ): 'peak 6e-4 | formula "min(1, step / 100)" | decoupled 0.01 | mask name "*" decays',
    (
        "import torch\n"
        "decay_lr=True\n"
        "learning_rate=6e-4\n"
        "def get_lr(it):\n"
        "  return learning_rate*min(1,it/100)\n"
        "opt=torch.optim.AdamW(a, lr=learning_rate)\n"
        "while True:\n"
        "  lr = get_lr(it) if decay_lr else learning_rate\n"
        "  for param_group in opt.param_groups:\n"
        "    param_group['lr'] = lr"
    ): 'peak 6e-4 | formula "min(1, step / 100)" | decoupled 0.01 | mask name "*" decays',
    (
        "import torch\n"
        "def f(it):\n"
        "  return 0.1*min(1,it/100)\n"
        "opt=torch.optim.AdamW(a)\n"
        "for it in r:\n"
        "  for g in opt.param_groups:\n"
        "    g['lr'] = f(it)"
    ): 'peak 0.1 | formula "min(1, step / 100)" | decoupled 0.01 | mask name "*" decays',
    (
        "import torch\nfrom torch.optim.lr_scheduler import StepLR as S\no=torch.optim.SGD(p,lr=.1)\ns=S(o,30)"
    ): "peak 0.1 | step by 0.1 every 30st",
    (
        "import torch\nfrom torch.optim import SGD as Opt\no=Opt(p,lr=.1,weight_decay=.1)"
    ): 'peak 0.1 | constant | l2 0.1 | mask name "*" decays',
    (
        "import torch\nO=torch.optim.SGD\no=O(p,lr=.1,weight_decay=.1)"
    ): 'peak 0.1 | constant | l2 0.1 | mask name "*" decays',
    (
        "import torch\n"
        "import timm\n"
        "m=timm.create_model('x')\n"
        "opt=torch.optim.SGD(p,lr=.1)\n"
        "s=torch.optim.lr_scheduler.StepLR(opt,30)"
    ): "peak 0.1 | step by 0.1 every 30st",
    (
        "import torch\n"
        "opt=torch.optim.SGD(p,lr=.1)\n"
        "m,opt2=accelerator.prepare(m,opt)\n"
        "scaler.step(opt)\n"
        "print(opt)\n"
        "torch.save(opt.state_dict(),'x')\n"
        "ema.update(opt)"
    ): "peak 0.1 | constant",
    (
        "from composer import Trainer\n"
        "from composer.optim import *\n"
        "o=DecoupledSGDW(p,lr=.1)\n"
        "s=CosineAnnealingScheduler(t_max='100ba')\n"
        "Trainer(optimizers=o,schedulers=s,scale_schedule_ratio=1.0)"
    ): "peak 0.1 | cosine to 0% over 100st",
    (
        "import keras\n"
        "d=keras.layers.Dense(3,kernel_regularizer=keras.regularizers.L1L2(l2=0.01))\n"
        "m.compile(keras.optimizers.SGD(0.1))"
    ): "peak 0.1 | constant | l2 0.02",
    (
        "import keras\nd=keras.layers.Dense(3,kernel_regularizer='l2')\nm.compile(keras.optimizers.SGD(0.1))"
    ): "peak 0.1 | constant | l2 0.02",
    (
        "import torch\n"
        "o=torch.optim.SGD(p,lr=.1)\n"
        "if False:\n"
        "  s=torch.optim.lr_scheduler.StepLR(o,2)\n"
        "s=torch.optim.lr_scheduler.StepLR(o,3)"
    ): "peak 0.1 | step by 0.1 every 3st",
    (
        "import optax\no=optax.adamw(1e-3,weight_decay=.1,mask=lambda p: jax.tree_util.tree_map(lambda x: x.ndim>1, p))"
    ): "peak 1e-3 | constant | decoupled 0.1",
    (
        "import optax\no=optax.adamw(1e-3,.9,.99,1e-8,0.,None,.2)"
    ): 'peak 1e-3 | constant | decoupled 0.2 | mask name "*" decays',
    (
        "import torch\n"
        "N=1000\n"
        "E=3\n"
        "T2=N*E\n"
        "o=torch.optim.SGD(p,lr=.1*4)\n"
        "s=torch.optim.lr_scheduler.StepLR(o,int(0.1*T2))"
    ): "peak 0.4 | step by 0.1 every 300st",
    ("import keras\no=keras.optimizers.AdamW(1e-3,0.1)"): 'peak 1e-3 | constant | decoupled 0.1 | mask name "*" decays',
    (
        "import torch\n"
        "class M:\n"
        "  def configure_optimizers(self):\n"
        "    o=torch.optim.AdamW(self.parameters(),lr=1e-3)\n"
        "    return [o],[torch.optim.lr_scheduler.StepLR(o,3)]"
    ): 'peak 1e-3 | step by 0.1 every 3st | decoupled 0.01 | mask name "*" decays',
    (
        "import torch\nlr,wd=0.1,1e-4\no=torch.optim.SGD(p,lr=lr,weight_decay=wd)"
    ): 'peak 0.1 | constant | l2 1e-4 | mask name "*" decays',
}

REFUSED = {
    (
        "# one\n\nimport transformers\nif big:\n  a=TrainingArguments('o', max_steps=9)"
    ): "TrainingArguments is built only if big (line 4);",
    ("import torch\nopt=torch.optim.SGD(p, lr=0.1, **cfg)"): "'cfg' is no mapping that stands in this sour",
    ("import torch\nlr=0.1\nlr *= 4\no=torch.optim.SGD(p, lr=lr)"): "lr is changed after it is assigned (line 3),",
    ("import torch\nlr=0.1\nlr=0.4\no=torch.optim.SGD(p, lr=lr)"): "lr is assigned twice (line 3 again), so its ",
    ("import torch\nif big:\n  lr=0.4\no=torch.optim.SGD(p, lr=lr)"): "lr is assigned in an if (line 3), so its val",
    (
        "import torch\nfor i in range(3):\n  lr=0.4\no=torch.optim.SGD(p, lr=lr)"
    ): "lr is assigned in a loop (line 3), so its va",
    (
        "import torch\nlr=0.1\ndef f(p, lr):\n  return torch.optim.SGD(p, lr=lr)\nf(p, 0.4)"
    ): "lr is an argument of f, so its value cannot ",
    (
        "import torch\ndef f(p, lr=0.3):\n  return torch.optim.SGD(p, lr=lr)"
    ): "lr is an argument of f, so its value cannot ",
    (
        "import torch\no=torch.optim.SGD([{'params':a,'lr':0.01},{'params':b}], lr=0.1)"
    ): "a param group has the lr 0.01 beside 0.1 (li",
    (
        "import torch\no=torch.optim.SGD([{'params':a,'weight_decay':0.01},{'params':b,'weight_decay':0.02}], lr=0.1)"
    ): "the param groups have weight_decay 0.01, 0.0",
    (
        "import torch\no=torch.optim.SGD(a, lr=0.1)\no.add_param_group({'params':b,'lr':0.01})"
    ): "\"o.add_param_group({'params': b, 'lr': 0.01}",
    (
        "import torch\no=torch.optim.SGD(a, lr=0.1)\no.add_param_group(dict(params=b,weight_decay=0.01))"
    ): "'o.add_param_group(dict(params=b, weight_dec",
    (
        "import torch\nopt=torch.optim.SGD(a, lr=0.1)\nopt.param_groups[0]['lr'] = 0.5"
    ): "\"opt.param_groups[0]['lr'] = 0.5\" changes th",
    (
        "import torch\nopt=torch.optim.SGD(a, lr=0.1)\nfor g in opt.param_groups: g['lr'] *= 0.1"
    ): "\"g['lr'] *= 0.1\" changes the learning rate b",
    (
        "import torch\nopt=torch.optim.SGD(a, lr=0.1)\nfor i,g in enumerate(opt.param_groups): g['lr'] = new"
    ): "\"g['lr'] = new\" changes the learning rate by",
    (
        "import torch\n"
        "from torch.optim import lr_scheduler\n"
        "opt=torch.optim.SGD(p,lr=.1)\n"
        "s=lr_scheduler.StepLr(opt, 30)"
    ): "StepLr takes the optimiser and is not known ",
    (
        "import torch\n"
        "from torch.optim import lr_scheduler\n"
        "opt=torch.optim.SGD(p,lr=.1)\n"
        "s=torch.optim.swa_utils.SWALR(opt, swa_lr=0.05)"
    ): "SWALR takes the optimiser and is not known (",
    (
        "import torch\nfrom torch.optim import lr_scheduler\no=torch.optim.SGD(p,lr=.1)\nadjust_learning_rate(o, epoch)"
    ): "adjust_learning_rate takes the optimiser and",
    (
        "import torch\n"
        "import timm\n"
        "opt=torch.optim.SGD(p,lr=.1)\n"
        "s,_=timm.scheduler.create_scheduler_v2(opt, num_epochs=3)"
    ): "create_scheduler_v2 takes the optimiser and ",
    (
        "import torch\nopt=torch.optim.SGD(p,lr=.1)\ns=GradualWarmup(opt, 3)"
    ): "GradualWarmup takes the optimiser and is not",
    (
        "import keras\n"
        "m.compile(keras.optimizers.SGD(0.1))\n"
        "m.fit(x,callbacks=[keras.callbacks.LearningRateScheduler(fn)])"
    ): "keras.callbacks.LearningRateScheduler(fn) (l",
    (
        "import keras\n"
        "def fn(epoch):\n"
        "  return 0.1*0.5**epoch\n"
        "m.compile(keras.optimizers.SGD(0.1))\n"
        "m.fit(x,callbacks=[keras.callbacks.LearningRateScheduler(fn)])"
    ): "keras.callbacks.LearningRateScheduler(fn) (l",
    (
        "import keras\n"
        "def schedule(epoch, lr):\n"
        "  return lr*0.5\n"
        "m.compile(keras.optimizers.SGD(0.1))\n"
        "m.fit(x,callbacks=[keras.callbacks.LearningRateScheduler(schedule)])"
    ): "schedule takes epoch, lr; a schedule is a fu",
    (
        "import torch\n"
        "from composer import Trainer\n"
        "o=torch.optim.SGD(p,lr=.1)\n"
        "Trainer(optimizers=o,schedulers=torch.optim.lr_scheduler.StepLR(o,2))"
    ): "StepLR takes the optimiser and is not known ",
    (
        "from composer import Trainer\n"
        "from composer.optim import *\n"
        "o=DecoupledSGDW(p,lr=.1)\n"
        "Trainer(optimizers=o,schedulers=CosineAnnealingScheduler(t_max='100ba'),scale_schedule_ratio=0.5)"
    ): "scale_schedule_ratio=0.5 (line 4) stretches ",
    (
        "from composer import Trainer\n"
        "from composer.optim import *\n"
        "o=DecoupledSGDW(p,lr=.1)\n"
        "Trainer(optimizers=o,schedulers=make())"
    ): "the schedulers=make() of the Trainer (line 4",
    (
        "import keras\n"
        "d=keras.layers.Dense(3,kernel_regularizer=keras.regularizers.L1L2(l1=0.1,l2=0.01))\n"
        "m.compile(keras.optimizers.SGD(0.1))"
    ): "keras.regularizers.L1L2(l1=0.1, l2=0.01) (li",
    (
        "import keras\nd=keras.layers.Dense(3,kernel_regularizer='l1')\nm.compile(keras.optimizers.SGD(0.1))"
    ): "the regulariser 'l1' (line 2) is not read as",
    (
        "import torch\n"
        "weight_decay=0.1\n"
        "learning_rate=6e-4\n"
        "def get_lr(it):\n"
        "  return learning_rate*min(1,it/100)\n"
        "optimizer = model.configure_optimizers(weight_decay, learning_rate, (b1,b2), dev)\n"
        "for g in optimizer.param_groups:\n"
        "  g['lr']=get_lr(it)"
    ): "the optimiser is built elsewhere, by model.c",
    (
        "import torch\n"
        "o=torch.optim.SGD(p,lr=.1)\n"
        "if x:\n"
        "  s=torch.optim.lr_scheduler.StepLR(o,2)\n"
        "else:\n"
        "  s=torch.optim.lr_scheduler.StepLR(o,3)"
    ): "several are built here: StepLR, StepLR; give",
    (
        "import torch\no=torch.optim.SGD(p,lr=.1)\nif x:\n  s=torch.optim.lr_scheduler.StepLR(o,2)"
    ): "StepLR is built only if x (line 3); give the",
    (
        "import optax\no=optax.adamw(1e-3,weight_decay=.1,mask=lambda p: jax.tree_util.tree_map(lambda x: x.size>7, p))"
    ): "which parameters decay is told by 'lambda p:",
    (
        "import optax\no=optax.adamw(1e-3,weight_decay=.1,mask=decay_mask_fn)"
    ): "which parameters decay is told by 'decay_mas",
    (
        "import torch\nN=len(loader)\no=torch.optim.SGD(p,lr=.1)\ns=torch.optim.lr_scheduler.StepLR(o,10*N)"
    ): "the length 'len(loader)' is not known here, ",
    (
        "from transformers import get_cosine_schedule_with_warmup\n"
        "import torch\n"
        "o=torch.optim.AdamW(p,lr=1e-3)\n"
        "s=get_cosine_schedule_with_warmup(o,100,len(dl)*3)"
    ): "the length 'len(dl)' is not known here, dl i",
    (
        "import keras\no=keras.optimizers.AdamW(1e-3,0.1)\nmodel.optimizer.learning_rate.assign(1e-4)"
    ): "'model.optimizer.learning_rate.assign(0.0001",
    (
        "import torch\no=torch.optim.SGD(p,lr=.1)\no.register_step_pre_hook(f)"
    ): "o.register_step_pre_hook(f) changes each upd",
    ("import torch\na=b+1\nb=a+1\no=torch.optim.SGD(p,lr=a)"): "this source names a value by itself, or is n",
    (
        "import torch\nimport argparse\nargs=parser.parse_args()\no=torch.optim.SGD(p,lr=args.lr)"
    ): "'args.lr' is not a number, a text, a list or",
}

OPTAX = "import optax\nschedule = optax.cosine_decay_schedule(1e-3, 1000)\n"
KERAS = "import keras\nschedule = keras.optimizers.schedules.CosineDecay(1e-3, 1000)\n"
COSINE = "peak 1e-3 | cosine to 0% over 1000st"
ALL = 'mask name "*" decays'

READ |= {
    f"{OPTAX}tx = optax.adamw(schedule, weight_decay=0.1)": f"{COSINE} | decoupled 0.1 | {ALL}",
    "import optax\ntx = optax.adamw(optax.cosine_decay_schedule(1e-3, 1000), weight_decay=0.1)": (
        f"{COSINE} | decoupled 0.1 | {ALL}"
    ),
    f"{OPTAX}tx = optax.chain(optax.clip(1.0) if clip else optax.identity(), optax.adamw(schedule))": (
        f"{COSINE} | decoupled 1e-4 | {ALL}"
    ),
    f"{OPTAX}tx = optax.named_chain(('clip', optax.clip(1.0)), ('adam', optax.adam(schedule)))": COSINE,
    f"{OPTAX}rates = jax.vmap(schedule)(steps)\nprint(schedule, schedule(3))": COSINE,
    f"{OPTAX}tx = optax.adam(schedule)\nstate = TrainState.create(params=p, tx=tx)\nfit(state, schedule)": COSINE,
    f"{KERAS}m.compile(keras.optimizers.Adam(schedule))": COSINE,
    "import torch\ntry:\n  o = torch.optim.SGD(p, lr=0.1)\n  train(o)\nexcept KeyboardInterrupt:\n  save(o)": (
        "peak 0.1 | constant"
    ),
    "import torch\no = torch.optim.SGD(m.parameters(), lr=0.1)\nema = EMA(m.parameters(), decay=0.99)\n"
    "wandb.init(config=dict(lr=0.1, weight_decay=0.1))\ntorch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)": (
        "peak 0.1 | constant"
    ),
    "import transformers\ncfg = dict(output_dir='o', max_steps=1000, learning_rate=3e-4, weight_decay=0.1, seed=seed)\n"
    "args = transformers.TrainingArguments(**cfg, lr_scheduler_type='constant')\nargs.output_dir = 'p'": (
        "peak 3e-4 | constant | decoupled 0.1"
    ),
    "import torch\no = torch.optim.SGD(p, lr=1.0)\ns = torch.optim.lr_scheduler.LambdaLR(o, lambda t: 0.5 if t < 9 else 0.1)": (
        'peak 0.5 | formula "(0.5 if step < 9 else 0.1) / 0.5"'
    ),
}  # fmt: skip

BY_HAND = "import torch\no = torch.optim.AdamW(p, lr=0.1)\n"
ARGUMENTS = "from transformers import TrainingArguments\nargs = TrainingArguments('o', max_steps=9)\n"
OF_TORCH = "such as torch.optim.AdamW(..., weight_decay=0.1)."

REFUSED |= {
    "import transformers\nargs = transformers.TrainingArguments(**json.load(f), max_steps=100)": "'json.load(f)' is no mapping",
    f"{ARGUMENTS}args.learning_rate = 3e-4": "'args.learning_rate = 0.0003' changes the arguments (line 3), which is not read;",
    f"{ARGUMENTS}trainer.args.weight_decay *= 2": "'trainer.args.weight_decay *= 2' changes the arguments (line 3)",
    f"{ARGUMENTS}args.set_lr_scheduler('cosine')": "\"args.set_lr_scheduler('cosine')\" changes the arguments (line 3)",
    f"{ARGUMENTS}args = args.set_optimizer('sgd', learning_rate=0.1)": "\"args.set_optimizer('sgd', learning_rate=0.1)\" changes",
    f"{ARGUMENTS}setattr(args, key, value)": "'setattr(args, key, value)' changes the arguments (line 3)",
    "import torch\ncfg = dict(lr=0.1)\ncfg['weight_decay'] = 0.1\no = torch.optim.SGD(p, **cfg)": (
        "'cfg' is no mapping that stands in this source (line 4): cfg is changed after it is assigned (line 3)"
    ),
    "import torch\ncfg = {'lr': 0.1}\ncfg.update(lr=0.5)\no = torch.optim.SGD(p, **cfg)": "'cfg' is no mapping that stands",
    f"{BY_HAND}for g in o.param_groups: g.update({{'lr': 0.01 * 0.5 ** e}})": "\"g.update({'lr': 0.01 * 0.5 ** e})\" changes the",
    f"{BY_HAND}o.param_groups[0].update(lr=0.2)": "'o.param_groups[0].update(lr=0.2)' changes the learning rate by hand (line 3)",
    f"{BY_HAND}o.param_groups[0].update(made)": "'o.param_groups[0].update(made)' changes the learning rate by hand (line 3)",
    f"{BY_HAND}for g in o.param_groups: g['weight_decay'] = 0.2": "g['weight_decay'] = 0.2 changes the decay as the run goes",
    f"{BY_HAND}for g in o.param_groups: g.update(weight_decay=0.2)": "g.update(weight_decay=0.2) changes the decay as the run",
    "import torch\ng = []\nfor p in ps:\n  g.append({'params': p, 'weight_decay': 0.0 if p.ndim < 2 else 0.1})\n"
    "o = torch.optim.SGD(g, lr=0.1)": "the param groups of SGD are made piece by piece (line 5)",
    "import torch\ng = []\ng += [dict(params=p, lr=0.1)]\no = torch.optim.SGD(g, lr=0.1)": "the param groups of SGD are made",
    f"{OPTAX}tx = optax.contrib.muon(schedule, weight_decay=0.1)": (
        "optax.contrib.muon may be an optimiser and is not known (line 3), so its learning rate and weight decay cannot be told;"
    ),
    f"{OPTAX}tx = optax.adafactor(schedule, weight_decay_rate=1e-3)": "optax.adafactor may be an optimiser and is not known",
    f"{OPTAX}tx = make.create_optimizer(schedule)": "make.create_optimizer may be an optimiser and is not known (line 3)",
    f"{OPTAX}def made(lr):\n  return my.muon(lr)\ntx = made(schedule)": "made may be an optimiser and is not known (line 5)",
    f"{OPTAX}tx = optax.inject_hyperparams(my.muon)(learning_rate=schedule)": "optax.inject_hyperparams(my.muon) may be an",
    f"{OPTAX}tx = optax.contrib.schedule_free(optax.adamw(1e-3), schedule)": "optax.contrib.schedule_free may be an optimiser",
    f"{OPTAX}a = optax.adamw(schedule)\nb = my.muon(schedule, weight_decay=0.1)": "my.muon may be an optimiser and is not known",
    f"{OPTAX}tx = optax.chain(optax.clip(1.0), my.muon(schedule))": (
        "'my.muon(schedule)' is a part of the optimiser that is not known (line 3), and what it does to the learning rate and to"
    ),
    f"{OPTAX}tx = optax.chain(base, optax.adamw(schedule))": "'base' is a part of the optimiser that is not known (line 3)",
    f"{OPTAX}tx = optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(max_backtracking_steps=15))": (
        "scale_by_backtracking_linesearch finds the learning rate as it goes (line 3), and a plan says it beforehand;"
    ),
    f"{OPTAX}tx = optax.chain(optax.scale_by_lbfgs(), optax.scale_by_zoom_linesearch(20))": "scale_by_zoom_linesearch finds",
    f"{OPTAX}tx = optax.chain(optax.sgd(1.0), optax.scale_by_polyak(max_learning_rate=1.0))": "scale_by_polyak finds the",
    f"{OPTAX}tx = optax.chain(optax.scale_by_distance_over_gradients(), optax.scale(-1.0))": "scale_by_distance_over_gradients",
    f"{OPTAX}tx = optax.MultiSteps(my.muon(schedule), 4)": "'my.muon(schedule)' is a part of the optimiser that is not known",
    f"{OPTAX}tx = optax.multi_transform({{'muon': my_muon(0.02), 'adam': optax.adamw(3e-4)}}, labels)": (
        "multi_transform gives some parameters another optimiser than others (line 3), and a plan has one;"
    ),
    f"{OPTAX}tx = optax.chain(optax.adam(schedule), optax.masked(optax.set_to_zero(), frozen))": "set_to_zero gives some",
    f"{OPTAX}try:\n  tx = my.muon(1e-3)\nexcept ImportError:\n  tx = optax.adamw(schedule)": (
        "adamw is built only if the try ends in ImportError (line 3); give the source without the try."
    ),
    f"{KERAS}o = tfa.optimizers.SGDW(learning_rate=schedule, weight_decay=1e-4)": "tfa.optimizers.SGDW may be an optimiser and",
    f"{KERAS}o = tfa.optimizers.LAMB(schedule)": "tfa.optimizers.LAMB may be an optimiser and is not known (line 3)",
    f"{KERAS}o = transformers.AdamWeightDecay(learning_rate=schedule, weight_decay_rate=0.01)": "transformers.Adam",
    f"{KERAS}class W(Extension, keras.optimizers.SGD): pass\no = W(schedule, weight_decay=0.1)": "W may be an optimiser",
    f"{KERAS}if big: o = keras.optimizers.AdamW(schedule)\nelse: o = my.SGDW(1e-3)": "AdamW is built only if big (line 3);",
    f"{KERAS}m.compile(optimizer='adamw')": "\"m.compile(optimizer='adamw')\" names its optimiser alone (line 3)",
    "import torch\na = bnb.optim.AdamW8bit(p, lr=1e-4)\ns = torch.optim.lr_scheduler.OneCycleLR(a, 0.1, total_steps=100)": (
        "the optimiser is built elsewhere, by bnb.optim.AdamW8bit (line 2), and the rates alone do not tell its weight decay;"
    ),
    "import torch\ns = torch.optim.lr_scheduler.OneCycleLR(bnb.optim.AdamW8bit(p, lr=1e-4), 0.1, total_steps=100)": (
        "the optimiser is built elsewhere, by bnb.optim.AdamW8bit (line 2)"
    ),
    f"{BY_HAND}b = SOAP(hidden, lr=3e-3, weight_decay=0.01)": (
        f"SOAP may be an optimiser and is not known (line 3), so its learning rate and weight decay cannot be told; give one "
        f"that is read, {OF_TORCH}"
    ),
    f"{BY_HAND}b = SOAP(head.parameters(), lr=3e-3)": "SOAP may be an optimiser and is not known (line 3)",
    f"{BY_HAND}b = bnb.optim.Lion8bit(head.parameters())": "bnb.optim.Lion8bit may be an optimiser and is not known (line 3)",
    "import torch\ntry:\n  o = bnb.optim.Adam8bit(p)\nexcept ImportError:\n  o = torch.optim.Adam(p)": (
        "Adam is built only if the try ends in ImportError (line 2)"
    ),
    "import torch\ntry:\n  o = torch.optim.Adam(p, fused=True)\nexcept TypeError:\n  o = my.Adam2(p)": (
        "Adam is built only if nothing in the try fails (line 2); give the source without the try."
    ),
    "import torch\nmatch name:\n  case 'sgd':\n    o = torch.optim.SGD(p)\n  case _:\n    o = SOAP(p)": (
        "SGD is built only if name is 'sgd' (line 2); give the source without the match."
    ),
}  # fmt: skip

# what builds an optimiser, and what only looks so

MODEL = "import torch\no = torch.optim.AdamW(model.parameters(), lr=0.1)\n"
USUAL = f"peak 0.1 | constant | decoupled 0.01 | {ALL}"
LINEAR = "peak 5e-5 | linear to 0% over 9st"

READ |= {
    f"{MODEL}@dataclass\nclass Config:\n  name: str\n  lr: float\nc = Config(name, lr=0.1, weight_decay=0.1)": USUAL,
    f"{MODEL}class Lit(pl.LightningModule): pass\nc = Lit(backbone, lr=0.1, weight_decay=0.1)": USUAL,
    f"{MODEL}c = TrainConfig('cifar', lr=0.1, wd=0.1)\nname = '{{}}_{{lr}}'.format('resnet', lr=0.1, weight_decay=0.1)": USUAL,
    f"{MODEL}train(model, lr=0.1, weight_decay=0.1)\nt = Trainer(model, lr=0.1, weight_decay=0.1)": USUAL,
    f"{MODEL}train(o, model, lr=0.1)\nlog = Logger(o, lr=True, weight_decay=True)\nsave(optimizer, lr=0.1)": USUAL,
    f"{MODEL}show(count_parameters(model), lr=0.1)\nrow(sum(p.numel() for p in model.parameters()), lr=0.1)": USUAL,
    f"{MODEL}optim = o\noptim.add_param_group({{'params': head.parameters()}})\noptim.load_state_dict(params)": USUAL,
    f"{MODEL}optimizers = []\noptimizers.append(o)\nself.optim.load_state_dict(torch.load('params.pt'))": USUAL,
    f"{MODEL}torch.save({{'params': model.state_dict(), 'lr': 0.1}}, 'x.pt')": USUAL,
    f"{MODEL}cfg.optim.lr = 0.2\ncfg.optim.weight_decay = 0.2": USUAL,
    "import torch\nps = filter(lambda p: p.requires_grad, model.parameters())\no = torch.optim.AdamW(ps, lr=0.1)\n"
    "torch.save({'params': model.state_dict(), 'lr': 0.1}, 'x.pt')": USUAL,
    "import torch\ntry:\n  model = load('x')\n  o = torch.optim.AdamW(p, lr=0.1)\nexcept OSError:\n  model = Model()": USUAL,
    "import keras\noptimizers = []\noptimizers.append(keras.optimizers.AdamW(0.1, 0.01))": USUAL,
    "import keras\no = keras.optimizers.AdamW(0.1, 0.01)\nconfig = keras.optimizers.serialize(o)": USUAL,
    f"{KERAS}plot_lr(schedule)\nconfig = keras.optimizers.schedules.serialize(schedule)": COSINE,
    f"import re\n{KERAS}conv = re.compile('conv.*')": COSINE,
    f"{OPTAX}from jax import jit, vmap\nf = jit(schedule)\nlrs = vmap(schedule)(steps)\nzip(steps, map(schedule, steps))": COSINE,
    "import optax\ntx = optax.adamw(0.1, weight_decay=0.01)\nspecs = optax.tree_map_params(tx, f, state, specs)": USUAL,
    "import optax\ntx = optax.inject_hyperparams(optax.adamw)(learning_rate=0.1, weight_decay=0.01)\n"
    "lr = state.hyperparams['learning_rate']": USUAL,
    f"{MODEL}hyperparams = dict(epochs=3)\nhyperparams['lr'] = 0.2": USUAL,
    f"{ARGUMENTS}setattr(args, 'generation_num_beams', 4)\nargs.__dict__['seed'] = 1": LINEAR,
    f"{ARGUMENTS}evaluating = dataclasses.replace(args, output_dir='p')\ntext = text.replace(self.args, '')": LINEAR,
    f"{ARGUMENTS[:-1]}.set_logging(steps=3)\nargs = args.set_save(steps=9)": LINEAR,
    f"{ARGUMENTS}d = vars(args).copy()\nd.update(learning_rate=3)": LINEAR,
}  # fmt: skip

TRAINABLE = "import torch\nps = []\nfor p in model.parameters(): ps.append(p)\no = torch.optim.AdamW(ps, lr=0.1)\n"

READ |= {
    # mappings with a rate that get into no list of groups
    f"{TRAINABLE}wandb.log({{**metrics, 'lr': o.param_groups[0]['lr']}})": USUAL,
    f"{TRAINABLE}history.append({{**metrics, 'lr': 0.1}})\nmetrics['lr'] = 0.1": USUAL,
    "import torch\nmeta = {'params': count, 'lr': 0.1}\no = torch.optim.AdamW(get_trainable(model), lr=0.1)": USUAL,
    "import torch\nconfig = {**base, 'lr': 0.1}\nmodel = Net(config)\no = torch.optim.AdamW(trainable(model), lr=0.1)": USUAL,
    # settings that are called as an optimiser
    f"{MODEL}opt = parser.parse_args()\nopt.weight_decay *= 2": USUAL,
    f"{MODEL}def train(opt):\n  opt.weight_decay *= opt.batch_size / 64\n  opt.lr = 0.2": USUAL,
    f"{MODEL}optim = ml_collections.ConfigDict()\noptim.lr = 0.2": USUAL,
    "import torch\ns = torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=9)\nclass Args:\n"
    "  optim: str = field(default='adamw')": str(foreign.read("torch: OneCycleLR(0.1, total_steps=9)")),
    f"{MODEL}for row, g in zip(rows, o.param_groups): row['lr'] = g['lr']": USUAL,
    # updates by hand beside torch's gradients
    "import torch\ndef get_lr(t): return 0.1 * 0.5 ** (t // 9)\nwd = 1e-3\nfor t in r:\n  w -= get_lr(t) * (w.grad + wd * w)": (
        'peak 0.1 | formula "0.5 ** (step // 9)" | l2 1e-3'
    ),
    "import torch\ndef get_lr(t): return 0.1 * 0.5 ** (t // 9)\nw.data -= get_lr(t) * (w.grad + 1e-3 * w.data)": (
        'peak 0.1 | formula "0.5 ** (step // 9)" | l2 1e-3'
    ),
}  # fmt: skip

GROUP = "{'params': [p], 'weight_decay': 0.1}"
INJECTED = "import optax\ntx = optax.inject_hyperparams(optax.adamw)(learning_rate=1e-3)\n"

REFUSED |= {
    f"{MODEL}b = SOAP([p for p in head.parameters() if p.ndim == 2], lr=3e-3)": "SOAP may be an optimiser and is not known",
    f"{MODEL}hidden = list(head.parameters())\nb = SOAP(hidden, lr=3e-3)": "SOAP may be an optimiser and is not known (line 4)",
    f"{MODEL}b = SOAP(params=hidden, lr=3e-3)": "SOAP may be an optimiser and is not known (line 3)",
    f"{MODEL}b = SOAP(get_params(head), lr=3e-3)": "SOAP may be an optimiser and is not known (line 3)",
    f"{MODEL}b = soap(head.parameters(), lr=3e-3)": "soap may be an optimiser and is not known (line 3)",
    f"{MODEL}b = create_optimizer(model, lr=3e-3, weight_decay=0.1)": "create_optimizer may be an optimiser and is not known",
    f"{MODEL}make = partial(SOAP, lr=3e-3, weight_decay=0.1)": "partial may be an optimiser and is not known (line 3)",
    f"{MODEL}class Mine:\n  def step(self): pass\nb = Mine(rest, lr=1e-3, weight_decay=0.1)": "Mine may be an optimiser and is",
    f"{MODEL}class Mine(torch.optim.SGD): pass\nb = Mine(rest, lr=1e-3, weight_decay=0.1)": "Mine may be an optimiser and is not",
    f"{OPTAX}train(my.muon(schedule))": "my.muon may be an optimiser and is not known (line 3)",
    f"{KERAS}model = keras.Sequential([])\nmodel.compile('adamw')": "\"model.compile('adamw')\" names its optimiser",
    "import torch\noptimizer: Opt = bnb.optim.AdamW8bit(p, lr=1e-4)\ns = torch.optim.lr_scheduler.StepLR(optimizer, 9)": (
        "the optimiser is built elsewhere, by bnb.optim.AdamW8bit (line 2)"
    ),
    "import torch\no: Opt = torch.optim.SGD(p, lr=0.1)\nwarmup_lr(o)": "warmup_lr takes the optimiser and is not known (line 3)",
    # param groups that are made, however
    f"import torch\ngs = []\nfor p in ps:\n  g = {GROUP}\n  gs.append(g)\no = torch.optim.AdamW(gs, lr=1e-3)": (
        "the param groups of AdamW are made piece by piece (line 6), so their rates and decays cannot be read; write the groups"
    ),
    f"import torch\ngs = {{}}\nfor p in ps:\n  gs[p] = {GROUP}\no = torch.optim.AdamW(list(gs.values()), lr=1e-3)": (
        "the param groups of AdamW are made piece by piece (line 5)"
    ),
    f"import torch\nself.gs = []\nself.gs.append({GROUP})\no = torch.optim.AdamW(self.gs, lr=1e-3)": (
        "the param groups of AdamW are made piece by piece (line 4)"
    ),
    f"import torch\ngs = [{GROUP} for p in ps]\ngs = gs[::-1]\no = torch.optim.AdamW(gs, lr=1e-3)": (
        "the param groups of AdamW are made piece by piece (line 4)"
    ),
    f"import torch\ndef get_params(m):\n  return [{GROUP}]\no = torch.optim.AdamW(get_params(m), lr=1e-3)": (
        "the param groups of AdamW are made piece by piece (line 4)"
    ),
    "import torch\ngs = []\ngs.append({**base, 'lr': 0.2})\no = torch.optim.SGD(gs, lr=0.1)": "the param groups of SGD are made",
    "import torch\ngs = []\ngs.append(dict(base, lr=0.2))\no = torch.optim.SGD(gs, lr=0.1)": "the param groups of SGD are made",
    f"import torch\ndef of(p):\n  return {GROUP}\no = torch.optim.AdamW([of(p) for p in m.parameters()], lr=1e-3)": (
        "the param groups of AdamW are made piece by piece (line 4)"
    ),
    f"import torch\ngs = []\ndef add(to, p):\n  to.append({GROUP})\nadd(gs, p)\no = torch.optim.AdamW(gs, lr=1e-3)": (
        "the param groups of AdamW are made piece by piece (line 6)"
    ),
    f"import torch\ndef of(m):\n  yield {GROUP}\no = torch.optim.AdamW(list(of(m)), lr=1e-3)": (
        "the param groups of AdamW are made piece by piece (line 4)"
    ),
    f"import torch\ngs = make(m)\ngs.append({GROUP})\no = torch.optim.AdamW(gs, lr=1e-3)": (
        "the param groups of AdamW are made piece by piece (line 4)"
    ),
    f"import torch\nd = {{}}\nd.setdefault(n, {GROUP})\no = torch.optim.AdamW(d.values(), lr=1e-3)": (
        "the param groups of AdamW are made piece by piece (line 4)"
    ),
    "import torch\ngs = []\nfor p in ps:\n  g = {'params': p}\n  g['weight_decay'] = 0.0\n  gs.append(g)\n"
    "o = torch.optim.AdamW(gs, lr=1e-3)": "the param groups of AdamW are made piece by piece (line 7)",
    # settings that are changed later, however
    f"{MODEL}first, *rest = o.param_groups\nfirst['lr'] = 0.5": "\"first['lr'] = 0.5\" changes the learning rate by hand",
    f"{MODEL}g = next(iter(o.param_groups))\ng['lr'] = 0.5": "\"g['lr'] = 0.5\" changes the learning rate by hand (line 4)",
    f"{MODEL}s = PiecewiseLinear(o, 'lr', milestones_values=[(0, 0.0), (9, 0.1)])": "PiecewiseLinear takes the optimiser and is",
    "import keras\nopt = keras.optimizers.AdamW(1e-3)\nprint(opt.batch_size)\nopt.weight_decay = 0.1": "opt.weight_decay = 0.1",
    f"{INJECTED}state = optax.tree_utils.tree_set(state, learning_rate=0.1)": (
        "'optax.tree_utils.tree_set(state, learning_rate=0.1)' changes the learning rate by hand (line 3), which is not read; "
        "give the optimiser a schedule, as in optax.adamw(get_lr, weight_decay=0.1)."
    ),
    f"{INJECTED}state = otu.tree_set(state, weight_decay=0.1)": "otu.tree_set(state, weight_decay=0.1) changes the decay as",
    f"{INJECTED}state = state._replace(hyperparams={{**state.hyperparams, 'learning_rate': 0.1}})": (
        "\"state._replace(hyperparams={**state.hyperparams, 'learni... changes the learning rate by hand (line 3)"
    ),
    f"{INJECTED}def get_lr(t): return 0.1 / (1 + t)\nstate.hyperparams['learning_rate'] = get_lr(t)": (
        "\"state.hyperparams['learning_rate'] = get_lr(t)\" changes the learning rate by hand (line 4), which is not read; "
        "give the optimiser a schedule"
    ),
    f"{ARGUMENTS}a = args\na.learning_rate = 1e-3": "'a.learning_rate = 0.001' changes the arguments (line 4)",
    f"{ARGUMENTS}a = copy.deepcopy(args)\na.learning_rate = 1e-3": "'a.learning_rate = 0.001' changes the arguments (line 4)",
    f"{ARGUMENTS}d = vars(args)\nd.update(learning_rate=1e-3)": "'d.update(learning_rate=0.001)' changes the arguments (line 4)",
    f"{ARGUMENTS}object.__setattr__(args, 'learning_rate', 1e-3)": "\"object.__setattr__(args, 'learning_rate', 0.001)\" changes",
    f"{BY_HAND}gs = o.param_groups\nfor g in gs: g['weight_decay'] = 0.5": "g['weight_decay'] = 0.5 changes the decay as",
    f"{BY_HAND}gs = o.param_groups\ngs[0]['lr'] = 0.5": "\"gs[0]['lr'] = 0.5\" changes the learning rate by hand (line 4)",
    f"{BY_HAND}for g in o.param_groups: g['lr'], g['weight_decay'] = 0.5, 0.1": (
        "\"g['lr'], g['weight_decay'] = (0.5, 0.1)\" changes the learning rate by hand (line 3)"
    ),
    f"{BY_HAND}o.state_dict()['param_groups'][0]['lr'] = 0.5": "\"o.state_dict()['param_groups'][0]['lr'] = 0.5\" changes the",
    "import keras\nopt = keras.optimizers.AdamW(1e-3)\nopt.weight_decay = 0.1": "opt.weight_decay = 0.1 changes the decay as",
    f"{INJECTED}state.hyperparams['learning_rate'] = 0.1": "\"state.hyperparams['learning_rate'] = 0.1\" changes the learning",
    f"{INJECTED}state[1].hyperparams['weight_decay'] = 0.5": "state[1].hyperparams['weight_decay'] = 0.5 changes the decay as",
    f"{INJECTED}held = state.hyperparams\nheld.update(learning_rate=0.1)": "'held.update(learning_rate=0.1)' changes the",
    f"{ARGUMENTS[:-1]}.set_optimizer('sgd', learning_rate=0.1)": "\"TrainingArguments('o', max_steps=9).set_optimizer('sgd',",
    f"{ARGUMENTS[:-1]}.set_logging(steps=3).set_lr_scheduler('cosine')": "\"TrainingArguments('o', max_steps=9).set_logging(",
    f"{ARGUMENTS[:-1]}.set_logging(steps=3)\nargs.weight_decay = 0.1": "'args.weight_decay = 0.1' changes the arguments (line 3)",
    "from transformers import TrainingArguments\nargs = replace(TrainingArguments('o', max_steps=9), learning_rate=1e-3)": (
        "\"replace(TrainingArguments('o', max_steps=9), learning_ra... changes the arguments (line 2)"
    ),
    "from transformers import TrainingArguments\nargs: X = TrainingArguments('o', max_steps=9)\nargs.learning_rate = 1e-3": (
        "'args.learning_rate = 0.001' changes the arguments (line 3)"
    ),
    f"{ARGUMENTS}args.__dict__['learning_rate'] = 3e-4": "\"args.__dict__['learning_rate'] = 0.0003\" changes the arguments",
    f"{ARGUMENTS}vars(args).update(learning_rate=3e-4)": "'vars(args).update(learning_rate=0.0003)' changes the arguments",
    f"{ARGUMENTS}args.seed, args.max_steps = 1, 90": "'args.seed, args.max_steps = (1, 90)' changes the arguments (line 3)",
    f"{ARGUMENTS}setattr(args, 'learning_rate', 3e-4)": "\"setattr(args, 'learning_rate', 0.0003)\" changes the arguments",
}  # fmt: skip


@pytest.mark.parametrize("source", READ)
def test_what_the_source_does_is_read(source: str) -> None:
    assert str(foreign.read(source)) == READ[source]


@pytest.mark.parametrize("source", REFUSED)
def test_what_cannot_be_read_is_refused(source: str) -> None:
    with pytest.raises(dw.errors.DwindleError) as caught:
        foreign.read(source)
    assert str(caught.value).startswith(REFUSED[source])
    assert "lambda" not in str(caught.value) or "lambda" in source


NANOGPT = """
import math, torch
max_lr, min_lr, warmup, steps = 6e-4, 6e-5, 715, 19073
def get_lr(it):
    if it < warmup: return max_lr * (it + 1) / warmup
    if it > steps: return min_lr
    return min_lr + 0.5 * (1.0 + math.cos(math.pi * (it - warmup) / (steps - warmup))) * (max_lr - min_lr)
optimizer = torch.optim.AdamW(p, lr=3e-4, weight_decay=0.1)
for it in range(steps):
    for group in optimizer.param_groups: group['lr'] = get_lr(it)
"""


@pytest.mark.parametrize(
    ("source", "peak", "step"),
    [
        (NANOGPT, 6e-4, 715),
        ("def learning_rate(t): return 0.5 * (0.2 if t < 3 else 0.1)", 0.1, 2),
        ("def learning_rate(t): return min((t + 1) ** -0.5, (t + 1) * 4000 ** -1.5)", 4000**-0.5, 3999),
        ("def learning_rate(t): return 0.3 * min(1, t / 3_000_000)", 0.3, 3_000_000),
        ("def learning_rate(t): return 0.3 * (1 - t / 1000) ** 0.9", 0.3, 0),
        (
            "import torch\no = torch.optim.SGD(p, lr=2.0)\ns = torch.optim.lr_scheduler.LambdaLR(o, lambda t: 0.2 ** (t + 1))",
            0.4,
            0,
        ),
    ],
)
def test_the_peak_of_a_function_is_its_highest_rate(source: str, peak: float, step: int) -> None:
    plan = foreign.read(source)
    assert isinstance(plan, dw.Plan)
    assert plan.peak == pytest.approx(peak, rel=1e-11)
    assert plan.schedule(step) == pytest.approx(1.0, rel=1e-11)


def test_a_rule_that_is_given_its_optimiser_where_it_is_built_is_no_optimiser() -> None:
    source = "import torch\ns = torch.optim.lr_scheduler.ReduceLROnPlateau(torch.optim.SGD(m.parameters(), lr=0.1))"
    assert isinstance(foreign.read(source), FeedbackRule)
    fitted = "import keras\nm.compile('adam')\nm.fit(x, callbacks=[keras.callbacks.ReduceLROnPlateau()])"
    assert isinstance(foreign.read(fitted), FeedbackRule)


def test_lists_that_hold_one_another_are_looked_through_once() -> None:
    assert (
        str(foreign.read("import optax\na = [b]\nb = [a]\ntx = optax.adam(1e-3)\nfit(a, tx)")) == "peak 1e-3 | constant"
    )


@pytest.mark.parametrize(("rate", "peak"), [("0.1 * 1.01 ** t", 0.1), ("t / 1000", 1.0)])
def test_a_rate_that_grows_without_end_keeps_the_number_it_multiplies(rate: str, peak: float) -> None:
    assert foreign.read(f"def learning_rate(t): return {rate}").peak == peak  # type: ignore[union-attr]


@pytest.mark.parametrize(("peer", "module", "skip"), [("torch", torch.optim, 1), ("optax", optax, 0)])
def test_positional_values_have_the_names_of_the_real_signatures(peer: str, module: Any, skip: int) -> None:
    for name, ours in POSITIONS[peer].items():
        words = inspect.signature(getattr(module, name)).parameters.values()
        theirs = [word.name for word in words if word.kind in (word.POSITIONAL_ONLY, word.POSITIONAL_OR_KEYWORD)]
        assert tuple(theirs[skip:][: len(ours)]) == ours, name


def test_positional_values_of_keras_have_the_names_of_its_signatures() -> None:
    keras = pytest.importorskip("keras")
    for name, ours in POSITIONS["keras"].items():
        theirs = [*inspect.signature(getattr(keras.optimizers, name)).parameters]
        assert tuple(theirs[: len(ours)]) == ours, name


OWN = [
    'peak 0.1 | cosine over 100% | decoupled 0.01 | mask name "embed*" does not, ndim "2" decays',
    "peak 0.1 | warmup 10%, cosine over 90% | corrected 0.01",
    "peak 0.1 | cosine over 100st | l2 1e-4 | layer-decay 0.8",
]


@pytest.mark.parametrize("peer", ["torch", "timm", "hf", "composer", "optax", "keras"])
@pytest.mark.parametrize("text", OWN)
def test_what_dwindle_wrote_comes_back_whole(text: str, peer: str) -> None:
    plan, run = dw.parse(text), dw.Horizon(steps=100, steps_per_epoch=50)
    source = foreign.write(plan, peer, run)
    back = foreign.read(source, run=run)
    assert isinstance(back, dw.Plan)
    if "not exact:" not in source:
        assert replace(back, schedule=plan.schedule) == plan
    assert list(back.lrs(100)) == pytest.approx(list(plan.lrs(run)), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("text", [OWN[2], OWN[1], OWN[2].replace("l2", "decoupled")])
@pytest.mark.parametrize("peer", ["optax", "keras"])
def test_what_dwindle_wrote_for_any_optimiser_comes_back_whole(peer: str, text: str) -> None:
    """Keras' stands as the base of a class, optax's only by the parts of its chain."""
    plan = dw.parse(text).resolve(100)
    for optimizer in foreign.OPTIMIZERS[peer]:
        try:
            source = foreign.write(plan, peer, 100, optimizer=optimizer)
        except DwindleError:
            continue
        back = foreign.read(source)
        assert isinstance(back, dw.Plan)
        assert (back.decay, back.layer_decay, back.mask) == (plan.decay, plan.layer_decay, plan.mask)


def test_an_edited_source_is_not_taken_for_the_plan_above_it() -> None:
    source = foreign.write(dw.parse(OWN[2]), "torch", 100)
    with pytest.raises(NoExactMapError, match="it was edited"):
        foreign.read(source.replace("0.8 **", "0.7 **"))
    hooked = foreign.write(dw.parse("peak 0.1 | constant | decoupled 0.01"), "torch", 100, optimizer="SGD")
    assert str(foreign.read(hooked)) == "peak 0.1 | constant | decoupled 0.01"
    code = hooked[hooked.index("import") :]
    with pytest.raises(NoExactMapError, match="register_step_pre_hook"):
        foreign.read(code)


def test_a_wrapped_plan_is_whole_again() -> None:
    text = "peak 0.1 | " + ", ".join(f"linear to {90 - 3 * i}% over {i + 1}st" for i in range(20)) + ", constant"
    plan = dw.parse(text)
    comment = Comment.of(Draft.of(plan, 500).header("torch"))
    assert comment is not None
    assert (comment.plan, comment.steps) == (plan, 500)


def test_nothing_is_run() -> None:
    tree = ast.parse("import torch\no = torch.optim.SGD(p, lr=open('x'))")
    with pytest.raises(dw.errors.ParseError, match="nothing is run"):
        foreign.read(ast.unparse(tree))


# --- whose class it is ---------------------------------------------------------------------------------------------------

ADAMW = "opt = torch.optim.AdamW(model.parameters(), lr=1e-3)\n"
BESIDE = {
    f"import timm, torch\nfrom transformers import get_cosine_schedule_with_warmup as c\n{ADAMW}s = c(opt, 100, 1000)": (
        "peak 1e-3 | warmup 100st, (cosine to 0% over 900st) mirror every 900st"
    ),
    "import timm\nfrom transformers import get_scheduler\nopt = timm.optim.create_optimizer_v2(m, opt='adamw', lr=1e-3)\n"
    "s = get_scheduler('linear', opt, num_warmup_steps=10, num_training_steps=100)": (
        "peak 1e-3 | warmup 10st, linear to 0% over 90st"
    ),
    f"import torch\nfrom sklearn.metrics import f1_score\n{ADAMW}s = torch.optim.lr_scheduler.StepLR(opt, 10)": (
        "peak 1e-3 | step by 0.1 every 10st"
    ),
    f"import torch\nimport tensorflow as tf\n{ADAMW}": "peak 1e-3 | constant",
    "import optax\nfrom transformers import FlaxAutoModel\ntx = optax.adam(1e-3)": "peak 1e-3 | constant",
    f"import torch\ndef get_scheduler(o):\n  return torch.optim.lr_scheduler.StepLR(o, 9)\n{ADAMW}s = get_scheduler(opt)": (
        "peak 1e-3 | step by 0.1 every 9st"
    ),
    f"import torch\ndef get_lr(o):\n  for g in o.param_groups:\n    return g['lr']\n{ADAMW}print(get_lr(opt))": (
        "peak 1e-3 | constant"
    ),
    f"import torch\ndef get_lr(it):\n  return 0.5 ** it\n{ADAMW}": "peak 1e-3 | constant",
    "from transformers import AdamW\nimport torch\nopt = AdamW(p, lr=2e-5, eps=1e-8, correct_bias=True)": "peak 2e-5 | constant",
    "from transformers import AdamW\nimport torch\nopt = AdamW(p, 2e-5, (0.9, 0.99), 1e-6, 0.01)": "peak 2e-5 | constant",
}


@pytest.mark.parametrize("source", BESIDE)
def test_a_library_beside_the_one_that_is_built_with_says_nothing(source: str) -> None:
    assert str(foreign.read(source)).startswith(BESIDE[source])


def test_what_transformers_own_adamw_decays_by() -> None:
    source = "from transformers import AdamW\nimport torch\nopt = AdamW(p, lr=1e-3{})"
    decays = [foreign.read(source.format(given)).decay for given in ("", ", weight_decay=0.1")]  # type: ignore[union-attr]
    assert decays == [None, dw.decoupled(0.1)]
    with pytest.raises(NoExactMapError, match="leaves out a part of Adam"):
        foreign.read(source.format(", correct_bias=False"))


STEP = "class StepLR(torch.optim.lr_scheduler.LRScheduler): pass\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import tensorflow as tf\nimport tensorflow_addons as tfa\ntfa.optimizers.AdamW(1e-4, 1e-3)", "from tensorflow_addons"),
        ("import torch\nfrom muon import Muon\nopt = Muon(p, lr=0.02)", "comes from muon here .line 3. and is not that of torch"),
        ("import torch\nfrom muon import Muon as M\nfrom torch.optim import SGD\nopt = SGD(M(p).q)", "comes from muon"),
        ("import torch\nfrom .optim import AdamW\nopt = AdamW(p)", "comes from .optim here"),
        ("import torch\nfrom fastai.vision.all import *\nopt = SGD(p)", "comes from fastai here"),
        (
            "try:\n  from torch.optim import AdamW\nexcept ImportError:\n  from utils import AdamW\nopt = AdamW(p)",
            "comes from utils here",
        ),
        (f"import torch\n{STEP}{ADAMW}s = StepLR(opt, 30)", "StepLR is defined in this source .line 4. and is not that of torch"),
        (f"import torch\nfrom utils import get_scheduler\n{ADAMW}s = get_scheduler(opt)", "comes from utils here"),
        (f"import torch\n{ADAMW}s = self.get_scheduler(opt)", "takes the optimiser and is not known"),
        ("import optax\ndef adam(lr):\n  return optax.sgd(lr)\ntx = adam(1e-3)", "adam is defined in this source"),
        (f"import torch, sklearn.linear_model\nsklearn.linear_model.SGDClassifier()\n{ADAMW}", "builds with sklearn and torch"),
    ],
)  # fmt: skip
def test_a_class_of_the_same_name_is_another_one(source: str, said: str) -> None:
    with pytest.raises(dw.errors.DwindleError, match=said):
        foreign.read(source)


def test_the_trainers_schedule_is_not_passed_over() -> None:
    source = (
        "import torch\nfrom transformers import Trainer, TrainingArguments\n"
        f"args = TrainingArguments('o', max_steps=100, lr_scheduler_type='cosine')\n{ADAMW}"
    )
    with pytest.raises(
        NoExactMapError, match=r"AdamW is built beside TrainingArguments \(line 3\), and no scheduler is"
    ):
        foreign.read(f"{source}Trainer(m, args, optimizers=(opt, None))")
    both = foreign.read(f"{source}s = torch.optim.lr_scheduler.StepLR(opt, 30)\nTrainer(m, args, optimizers=(opt, s))")
    assert str(both).startswith("peak 1e-3 | step by 0.1 every 30st | decoupled 0.01")


# --- functions of the step -----------------------------------------------------------------------------------------------


def lambda_lr(before: str, function: str) -> str:
    return f"import torch\n{before}\nopt = torch.optim.SGD(p, lr=0.1)\ns = torch.optim.lr_scheduler.LambdaLR(opt, {function})"


BUILD = """
warm, total = 100, 1000
def build(opt, warm, total=500):
    def f(step):
        return min(1.0, step / warm)
    return torch.optim.lr_scheduler.LambdaLR(opt, f)
"""


@pytest.mark.parametrize(
    ("source", "formula"),
    [
        (lambda_lr("total = 1000\nwarm = int(0.1 * total)", "lambda t: min(1.0, t / warm)"), "min(1.0, step / 100)"),
        (lambda_lr("total = 1000\nhalf = total // 2", "lambda t: max(0.0, 1 - t / half)"), "max(0.0, 1 - step / 500)"),
        (lambda_lr("warm = 50\ndef f(t, *, warm=10):\n  return min(1.0, t / warm)", "f"), "min(1.0, step / 10)"),
        (lambda_lr("w = 5\ndef f(t, warm=2 * w):\n  return min(1.0, t / warm)", "f"), "min(1.0, step / (2 * 5))"),
        (lambda_lr("", "lambda t: 0.5 ** int(t / 10)"), "0.5 ** floor(step / 10)"),
        (lambda_lr("", "lambda t: 0.5 ** float(int(0.5 * t) * 2)"), "0.5 ** (floor(0.5 * step) * 2)"),
    ],
)
def test_values_outside_a_function_are_those_of_its_own_place(source: str, formula: str) -> None:
    assert str(foreign.read(source)) == f'peak 0.1 | formula "{formula}"'


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (f"import torch{BUILD}opt = torch.optim.SGD(p, lr=0.1)\ns = build(opt, 50)", "warm is an argument of build, so"),
        (lambda_lr("warm = 5\nwarm = 9", "lambda t: t / warm"), "warm is assigned twice"),
        (lambda_lr("def f(t, *, warm):\n  return t / warm", "f"), "f takes t, warm"),
    ],
)  # fmt: skip
def test_a_value_that_a_function_may_not_have_is_refused(source: str, said: str) -> None:
    with pytest.raises(NoExactMapError, match=said):
        foreign.read(source)


@pytest.mark.parametrize("cut", ["int({})", "np.asarray({}).astype(int)", "tf.cast({}, tf.int32)"])
def test_int_cuts_towards_zero_also_below_it(cut: str) -> None:
    plan = foreign.read(lambda_lr("", f"lambda t: 2.0 ** {cut.format('(t - 45) / 10')}"))
    assert isinstance(plan, dw.Plan)
    assert plan.lrs(90).tolist() == pytest.approx([0.1 * 2.0 ** int((t - 45) / 10) for t in range(90)])


def by_hand(loop: str, argument: str) -> str:
    return (
        "import torch\ndef get_lr(x):\n    return 1e-3 * min(1.0, x / 100)\n"
        f"opt = torch.optim.AdamW(p, lr=1e-3)\n{loop}\n"
        f"        for g in opt.param_groups:\n            g['lr'] = get_lr({argument})\n"
    )  # fmt: skip


FOR, EPOCHS = "if True:\n    for it in {}:", "for epoch in range(9):\n    for i, x in enumerate(data):"


@pytest.mark.parametrize(
    ("loop", "argument", "read"),
    [
        (FOR.format("range(1000)"), "it", "step"),
        (FOR.format("range(1000)"), "it / 1000", "(step / 1000)"),
        (FOR.format("range(1000)"), "it + 1", "(step + 1)"),
        (FOR.format("range(1, 1001)"), "it", "(step + 1)"),
        (FOR.format("range(begun, 1001)"), "it", "step"),
        ("if True:\n    for it, x in tqdm(enumerate(data, start=1)):", "it", "(step + 1)"),
        ("it = 0\nwhile True:\n    if True:\n        it += 1", "it", "step"),
        (EPOCHS, "epoch * len(data) + i", "step"),
        (EPOCHS + "\n        step = epoch * len(data) + i", "step", "step"),
        (FOR.format("range(1000)") + "\n        x = it / 1000", "x", "(step / 1000)"),
        ("while True:\n    if True:", "self.step", "step"),
    ],
)
def test_a_rate_set_by_hand_is_of_what_it_is_called_with(loop: str, argument: str, read: str) -> None:
    plan = foreign.read(by_hand(loop, argument))
    assert isinstance(plan, dw.Plan)
    assert plan.peak == 1e-3
    assert plan.schedule == dw.formula(f"min(1.0, {read} / 100)")


@pytest.mark.parametrize(
    ("loop", "argument", "said"),
    [
        (FOR.format("range(1000)"), "it // 4", "counts batches or updates is not said"),
        (FOR.format("range(0, 1000, 2)"), "it", "does not count one by one"),
        (EPOCHS, "epoch + i / 90", "which of epoch, i counts the updates is not said"),
        (EPOCHS, "count(i)", "is no arithmetic of a count"),
        ("it = 0\nwhile True:\n    if True:\n        it += 512", "it", "is no count of one an update"),
    ],
)
def test_a_rate_set_by_hand_of_an_unknown_count_is_refused(loop: str, argument: str, said: str) -> None:
    with pytest.raises(NoExactMapError, match=said):
        foreign.read(by_hand(loop, argument))


# --- which weights decay -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "group",
    [
        "no_decay", "nodecay_params", "biases", "norm_params", "bn", "[p for n, p in named if any(nd in n for nd in no_decay)]",
        "[p for p in ps if p.ndim < 2]", "[p for p in ps if p.dim() <= 1]", "[p for n, p in named if n not in decay_parameters]",
        "[p for n, p in named if n.endswith('.bias')]", "[p for n, p in named if not n.endswith('weight')]",
    ],
)  # fmt: skip
def test_a_group_that_is_said_to_be_biases_and_norms_is_the_masks(group: str) -> None:
    groups = f"[{{'params': {group}, 'weight_decay': 0.0}}, {{'params': rest, 'weight_decay': 0.1}}]"
    assert str(foreign.read(f"import torch\nopt = torch.optim.AdamW({groups}, lr=1e-3)")) == (
        "peak 1e-3 | constant | decoupled 0.1"
    )


@pytest.mark.parametrize(
    "group",
    [
        "backbone", "rest", "model.head.parameters()", "decay", "[p for n, p in named if not any(nd in n for nd in no_decay)]",
        "[p for n, p in named if keep(n)]", "[p for p in ps if p.ndim >= 2]", "subnet_params",
    ],
)  # fmt: skip
def test_a_group_of_other_weights_that_do_not_decay_is_refused(group: str) -> None:
    groups = f"[{{'params': {group}, 'weight_decay': 0.0}}, {{'params': rest, 'weight_decay': 0.1}}]"
    with pytest.raises(
        NoExactMapError, match=r"has weight_decay 0 \(line 2\), and that its parameters, .* is not said"
    ):
        foreign.read(f"import torch\nopt = torch.optim.AdamW({groups}, lr=1e-3)")


NAMED = "[p for n, p in model.named_parameters() if {}]"


@pytest.mark.parametrize(
    ("test", "mask"),
    [
        ("n.endswith('.pos')", 'regex "\\\\.pos$" does not, name "*" decays'),
        ("p.requires_grad and ('head' in n or n.endswith(('a', 'b')))", 'regex "head|a$|b$" does not, name "*" decays'),
        ("any(nd in n for nd in skip)", 'regex "embed|head" does not, name "*" decays'),
        ("'bias' not in n", 'regex "bias" decays'),
        ("not n.endswith('kernel')", 'regex "kernel$" decays'),
        ("not any(n.endswith(nd) for nd in skip)", 'regex "embed$|head$" decays'),
    ],
)
def test_names_that_pick_a_group_are_its_mask(test: str, mask: str) -> None:
    groups = f"[{{'params': {NAMED.format(test)}, 'weight_decay': 0.0}}, {{'params': rest, 'weight_decay': 0.1}}]"
    plan = foreign.read(f"import torch\nskip = ['embed', 'head']\nopt = torch.optim.AdamW({groups}, lr=1e-3)")
    assert str(plan) == f"peak 1e-3 | constant | decoupled 0.1 | mask {mask}"
    assert dw.parse(str(plan)) == plan


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("activity_regularizer=keras.regularizers.L2(1e-5)", "penalises what the layer gives out, and no weights"),
        ("bias_regularizer=keras.regularizers.L2(1e-4)", "penalises its bias too"),
        ("kernel_regularizer='l2', beta_regularizer='l2'", "beta_regularizer='l2' .line 2. penalises its beta too"),
    ],
)
def test_a_penalty_of_no_matrix_is_no_l2(given: str, said: str) -> None:
    source = "import keras\nd = keras.layers.Dense(3, {})\nm.compile(keras.optimizers.SGD(0.1))"
    with pytest.raises(NoExactMapError, match=said):
        foreign.read(source.format(given))
    assert str(foreign.read(source.format("kernel_regularizer='l2', bias_regularizer=None"))) == (
        "peak 0.1 | constant | l2 0.02"
    )


def test_a_callback_that_sets_the_rate_is_not_passed_over_beside_a_rule() -> None:
    source = (
        "import keras\ndef f(epoch):\n  return 0.1 * 0.5 ** epoch\nm.compile(keras.optimizers.SGD(0.1))\n"
        "c = [keras.callbacks.ReduceLROnPlateau(), keras.callbacks.LearningRateScheduler(f)]"
    )
    with pytest.raises(NoExactMapError, match="another callback cuts it"):
        foreign.read(source, run=dw.Horizon(epochs=9, steps_per_epoch=9))


def test_a_rate_function_that_is_called_often_is_worked_out_once(monkeypatch):
    """4,500 updates by hand took more than nine minutes."""
    asked = []
    monkeypatch.setattr(unread, "in_steps", lambda *given: asked.append(given) or counting.in_steps(*given))
    updates = "".join(f"    w{i} = w{i} - lr(t) * (g{i} + 0.1 * decay * w{i})\n" for i in range(50))
    source = f"decay = 0.5\ndef lr(t): return 0.1 / (1 + 0.01 * t)\nfor t in range(1000):\n{updates}"
    assert str(foreign.read(source).decay) == "l2 0.05"
    assert len(asked) <= 2


@pytest.mark.parametrize(
    "beside",
    [
        "x = x.flatten()",
        "leaves, tree = jax.tree.flatten(params)",
        "import itertools\nfor a in itertools.chain(x, y): pass",
        "from itertools import chain\nfor a in chain(x, y): pass",
        "if flat: x = x.flatten()",
    ],
)
def test_what_has_the_name_of_a_part_of_optax_is_none(beside: str) -> None:
    rate = "sched = optax.cosine_decay_schedule(1e-3, 9000)"
    alone = f"import jax, optax\n{rate}\n"
    assert str(foreign.read(f"{alone}{beside}", run=9000)) == str(foreign.read(alone, run=9000))
    built = f"{alone}opt = optax.adamw(sched, weight_decay=0.1)\n"
    assert str(foreign.read(f"{built}{beside}", run=9000)) == str(foreign.read(built, run=9000))
    chained = f"{alone}opt = optax.chain(optax.flatten(optax.scale_by_adam()), optax.scale_by_learning_rate(sched))\n"
    assert str(foreign.read(f"{chained}{beside}", run=9000)) == str(foreign.read(chained, run=9000))


def test_a_part_of_optax_that_is_given_nothing_is_refused_in_words() -> None:
    with pytest.raises(DwindleError):
        foreign.read("import optax\nopt = optax.chain(optax.flatten(), optax.scale_by_learning_rate(0.1))")


@pytest.mark.parametrize(
    "beside",
    [
        "def get_lr(step): return 0.1 * 0.5 ** (step // 9)\nfor p in opt.param_groups: p['lr'] = get_lr(step)",
        "def write(record): record['lr'] = lr_now(); f.write(json.dumps(record))\nwrite({'step': s, 'loss': 0.0})",
        "def log_metrics(m, step): wandb.log({**m, 'lr': lr_now()})\nlog_metrics({**metrics, 'lr': 0.1}, step)",
    ],
)
def test_parameters_that_are_taken_in_one_by_one_are_no_groups(beside: str) -> None:
    source = (
        "import torch\nparams = []\nfor p in model.parameters():\n    if p.requires_grad: params.append(p)\n"
        f"opt = torch.optim.AdamW(params, lr=0.1, weight_decay=0.1)\n{beside}"
    )
    assert str(foreign.read(source).decay) == "decoupled 0.1"


def test_an_optimiser_that_is_handed_over_moves_the_weights_and_no_hand_does() -> None:
    source = (
        "import torch\ndef get_lr(step): return 1e-4 * min(1.0, step / 1000)\n"
        "class EMA:\n    def __init__(self, model, decay=0.999): self.decay = decay\n"
        "    def update(self): self.e.mul_(self.decay)\n"
        "def train(model, optimizer, ema):\n    for step in range(9000):\n"
        "        for g in optimizer.param_groups: g['lr'] = get_lr(step)\n"
        "        norm = sum(p.grad.norm() for p in model.parameters())\n        optimizer.step()\n"
    )
    plan = foreign.read(source, run=9000)
    assert plan.decay is None
    assert plan.lrs(9000)[500] == pytest.approx(5e-5)
