"""The decoder's network as an ONNX graph that answers what the network answers: times, the request's time, any batch, any length.

A graph is made by running the network once on an example and writing down what it does, so some things have to be said differently
than in training. A history without times takes a shortcut; the example has times, and the graph always looks them up. The look-up of
attention's bias writes into its result, which no graph can; here it indexes. The example is short, so its mask comes in one part. And
the number of rows has to be the batch's own, not the example's; so the last block picks its row of the mask itself.
"""
import copy
import warnings

import torch
from torch import nn

NAMES = ["x", "times", "asked", "at"]


def places(place, m, n):
    "(H, m, n), of the last m of n positions: place[i − j], −∞ where j comes after i."
    i = torch.arange(n); back = i[n - m:, None] - i
    return place[:, back.clamp(min=0)].masked_fill(back < 0, -torch.inf)


class IndexedBias(nn.Module):
    "`AttentionBias` by indexing: (B, L, L) steps → (B, H, L, L)."
    def __init__(self, bias):
        super().__init__()
        self.time, self.place = (nn.Parameter(a.detach().clone(), requires_grad=False) for a in (bias.time, bias.place))

    def forward(self, steps): return (self.time[:, steps] + places(self.place, *steps.shape[1:])[:, None]).transpose(0, 1)
    def without_times(self, n): return places(self.place, n, n)[None]


class PlainRMS(nn.Module):
    "`nn.RMSNorm` by its formula, which this set of operations lacks."
    def __init__(self, norm): super().__init__(); self.weight, self.eps = norm.weight, norm.eps or torch.finfo(torch.float32).eps
    def forward(self, x): return x * (x.square().mean(-1, keepdim=True) + self.eps).rsqrt() * self.weight


class OnePosition(nn.Module):
    "The last block, asked for one position of each row: `at` (B,)."
    def __init__(self, block): super().__init__(); self.block, self.at = block, None

    def forward(self, h, mask=None, at=None):
        b = h.shape[0]
        if mask is not None: mask = mask[0].expand(b, -1, -1, -1)[torch.arange(b), :, self.at][:, :, None]   # (B, H, 1, L)
        return self.block(h, mask, self.at)


class Last(nn.Module):
    "The network and its film vectors: (x (B, L), times (B, L), asked (B, L), at (B,)) → (B, D)."
    def __init__(self, net):
        super().__init__()
        self.net = copy.deepcopy(net).eval().requires_grad_(False); self.register_buffer("films", net.films().detach().clone())
        if self.net.attention_bias is not None: self.net.attention_bias = IndexedBias(net.attention_bias)
        self.net.blocks[-1] = OnePosition(self.net.blocks[-1])
        for m in list(self.net.modules()):
            for name, part in m.named_children():
                if isinstance(part, nn.RMSNorm): setattr(m, name, PlainRMS(part))

    def forward(self, x, times, asked, at):
        self.net.blocks[-1].at = at
        return self.net(x, self.films, times, asked)[:, 0]


def export(net, path):
    "Write the graph of a `DecoderNet` to `path`; inputs that it doesn't read are left out. Gives the path."
    x, at = torch.ones(2, 7, dtype=torch.int64), torch.tensor([6, 3])
    times = 10**9 + 1000 * torch.arange(14).view(2, 7)
    axes = dict.fromkeys(NAMES[:3], {0: "b", 1: "l"}) | dict(at={0: "b"}, vectors={0: "b"})
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")     # what tracing can't follow; tests/test_onnx.py compares the answers instead
        torch.onnx.export(Last(net), (x, times, times + 1000, at), str(path), input_names=NAMES, output_names=["vectors"],
                          dynamic_axes=axes, opset_version=17, dynamo=False)
    return path


def session(path, threads: int = 1):
    "A function (x, times, asked, lengths) → (B, D), by ONNX Runtime on the CPU."
    import onnxruntime as ort
    options = ort.SessionOptions(); options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")     # spinning threads take the core from others
    run = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    named = {i.name for i in run.get_inputs()}
    return lambda x, times, asked, n: run.run(None, {k: v for k, v in zip(NAMES, (x, times, asked, n - 1)) if k in named})[0]
