# SPDX-License-Identifier: Apache-2.0
# The peer of bench_train_step: the same GPT-2 124M step (f32, one sample of 1,024 tokens a micro-batch, two a
# step, AdamW, clipping) in PyTorch, with its fused attention. Needs python3-torch; run it beside bench_train_step.
#   python3 tests/bench/train_step_torch.py [STEPS] [THREADS]
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
torch.set_num_threads(int(sys.argv[2]) if len(sys.argv) > 2 else 2)
L, C, NH, T, V, SAMPLES = 12, 768, 12, 1024, 50257, 2


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.qkv, self.proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.fc, self.out = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)
        self.register_buffer("mask", torch.full((T, T), float("-inf")).triu(1), persistent=False)

    def attention(self, q, k, v):
        if hasattr(F, "scaled_dot_product_attention"):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        scores = q @ k.transpose(-2, -1) * (C // NH) ** -0.5 + self.mask
        return scores.softmax(-1) @ v

    def forward(self, x):
        b = x.shape[0]
        q, k, v = (z.view(b, T, NH, C // NH).transpose(1, 2) for z in self.qkv(self.ln1(x)).split(C, 2))
        x = x + self.proj(self.attention(q, k, v).transpose(1, 2).reshape(b, T, C))
        return x + self.out(F.gelu(self.fc(self.ln2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.tok, self.pos = nn.Embedding(V, C), nn.Embedding(T, C)
        self.blocks = nn.ModuleList(Block() for _ in range(L))
        self.ln = nn.LayerNorm(C)

    def forward(self, ids, targets):
        x = self.tok(ids) + self.pos(torch.arange(T))
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy((self.ln(x) @ self.tok.weight.T).view(-1, V), targets.view(-1))


torch.manual_seed(1)
model = Gpt()
optimizer = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1)
seconds = []
for step in range(STEPS + 1):
    start = time.perf_counter()
    for _ in range(SAMPLES):
        ids = torch.randint(0, V, (1, T + 1))
        (model(ids[:, :-1], ids[:, 1:]) / SAMPLES).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    seconds.append(time.perf_counter() - start)
best = min(seconds[1:])
print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads: best {best:.3f} s/step, "
      f"{SAMPLES * T / best:.1f} tokens/s")
