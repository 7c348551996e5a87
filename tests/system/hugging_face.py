# SPDX-License-Identifier: Apache-2.0
# The oracle of hugging_face_test: GPT-2 in plain PyTorch, from the bytes of safetensors files. It shares nothing
# with transformers or with the program under test.
#   hugging_face.py make DIR SEED         a small random model, as transformers 4 saved GPT-2: no prefix, with masks
#   hugging_face.py logits DIR OUT ID...  f32 logits [ids, vocabulary] of a folder's model, as raw bytes
import glob
import json
import os
import struct
import sys

import torch
import torch.nn.functional as F

TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "U8": torch.uint8}


def load(folder):
    tensors = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        raw = open(path, "rb").read()
        (length,) = struct.unpack("<Q", raw[:8])
        for name, entry in json.loads(raw[8 : 8 + length]).items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            data = bytearray(raw[8 + length + begin : 8 + length + end])
            tensor = torch.frombuffer(data, dtype=TYPES[entry["dtype"]]).reshape(entry["shape"])
            tensors[name.removeprefix("transformer.")] = tensor
    return tensors


def save(path, tensors):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors.items():
        kind = next(k for k, v in TYPES.items() if v == tensor.dtype)
        raw = bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist())
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def logits(folder, ids):
    config = json.load(open(os.path.join(folder, "config.json")))
    w = {name: tensor.float() for name, tensor in load(folder).items()}
    c, heads = config["n_embd"], config["n_head"]

    def norm(x, name):
        return F.layer_norm(x, (c,), w[name + ".weight"], w[name + ".bias"], config["layer_norm_epsilon"])

    def linear(x, name):
        return x @ w[name + ".weight"] + w[name + ".bias"]

    t = len(ids)
    x = w["wte.weight"][torch.tensor(ids)] + w["wpe.weight"][:t]
    mask = torch.full((t, t), float("-inf")).triu(1)
    for layer in range(config["n_layer"]):
        h = f"h.{layer}."
        q, k, v = (
            part.view(t, heads, c // heads).transpose(0, 1)
            for part in linear(norm(x, h + "ln_1"), h + "attn.c_attn").split(c, -1)
        )
        scores = q @ k.transpose(1, 2) * (c // heads) ** -0.5 + mask
        attended = (scores.softmax(-1) @ v).transpose(0, 1).reshape(t, c)
        x = x + linear(attended, h + "attn.c_proj")
        x = x + linear(F.gelu(linear(norm(x, h + "ln_2"), h + "mlp.c_fc"), approximate="tanh"), h + "mlp.c_proj")
    return norm(x, "ln_f") @ w["wte.weight"].T


def make(folder, seed):
    torch.manual_seed(seed)
    layers, c, f, context, vocab = 2, 64, 192, 64, 301
    w = {"wte.weight": torch.randn(vocab, c) * 0.2, "wpe.weight": torch.randn(context, c) * 0.1}
    for layer in range(layers):
        h = f"h.{layer}."
        for name in ("ln_1", "ln_2"):
            w[h + name + ".weight"] = 1 + 0.2 * torch.randn(c)
            w[h + name + ".bias"] = 0.2 * torch.randn(c)
        for name, rows, columns in (("attn.c_attn", c, 3 * c), ("attn.c_proj", c, c), ("mlp.c_fc", c, f), ("mlp.c_proj", f, c)):
            w[h + name + ".weight"] = torch.randn(rows, columns) * 0.15
            w[h + name + ".bias"] = torch.randn(columns) * 0.1
        w[h + "attn.bias"] = torch.ones(context, context, dtype=torch.uint8).tril().view(1, 1, context, context)
        w[h + "attn.masked_bias"] = torch.tensor(-1e4)
    w["ln_f.weight"], w["ln_f.bias"] = 1 + 0.2 * torch.randn(c), 0.2 * torch.randn(c)
    w["lm_head.weight"] = w["wte.weight"]
    os.makedirs(folder)
    save(os.path.join(folder, "model.safetensors"), w)
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "activation_function": "gelu_new",
              "layer_norm_epsilon": 1e-5, "n_layer": layers, "n_embd": c, "n_head": 4, "n_inner": f,
              "n_positions": context, "n_ctx": context, "vocab_size": vocab, "summary_type": "cls_index"}
    json.dump(config, open(os.path.join(folder, "config.json"), "w"))


if sys.argv[1] == "make":
    make(sys.argv[2], int(sys.argv[3]))
else:
    with torch.no_grad():
        result = logits(sys.argv[2], [int(word) for word in sys.argv[4:]])
    # Without numpy, which PyTorch does not need.
    with open(sys.argv[3], "wb") as file:
        file.write(bytes(result.contiguous().reshape(-1).view(torch.uint8).tolist()))
