# SPDX-License-Identifier: Apache-2.0
# ppo_update.py FILE: reads what print_ppo_update wrote, computes the same update of PPO with a plain GPT-2 in PyTorch
# (needs no numpy), and prints as JSON how far apart the two are: of every number the largest difference, divided by the
# largest element of its tensor.
import json
import math
import sys

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float32)


def network(weights, heads, layers, ids, scalar):
    """Logits [t, vocab], or values [t], behind each of the ids of one row."""

    def norm(x, name):
        return F.layer_norm(x, (x.shape[-1],), weights[name + ".weight"].flatten(), weights[name + ".bias"].flatten(), 1e-5)

    def linear(x, name):
        return F.linear(x, weights[name + ".weight"], weights[name + ".bias"].flatten())

    t = len(ids)
    x = weights["tok_embed"][torch.tensor(ids)] + weights["pos_embed"][:t]
    c = x.shape[-1]
    mask = torch.full((t, t), float("-inf")).triu(1)
    for layer in range(layers):
        b = f"blocks.{layer}."
        h = norm(x, b + "ln1")
        q, k, v = (linear(h, b + "attn." + part).view(t, heads, c // heads).transpose(0, 1) for part in "qkv")
        scores = q @ k.transpose(1, 2) / math.sqrt(c // heads) + mask
        x = x + linear((scores.softmax(-1) @ v).transpose(0, 1).reshape(t, c), b + "attn.proj")
        h = F.gelu(linear(norm(x, b + "ln2"), b + "mlp.fc"), approximate="tanh")
        x = x + linear(h, b + "mlp.proj")
    x = norm(x, "ln_f")
    return linear(x, "value_head").flatten() if scalar else x @ weights["tok_embed"].T


def estimate(job):
    """Advantages and returns of the whole minibatch, whitened: what PPO would have computed."""
    advantages, returns = [], []
    for episode in job["episodes"]:
        n = len(episode["response"])
        rewards = [-job["beta"] * (a - b) for a, b in zip(episode["logprobs"], episode["reference"])]
        rewards[-1] += episode["score"]
        values, next_advantage, own = episode["values"] + [0.0], 0.0, []
        for t in reversed(range(n)):
            delta = rewards[t] + job["gamma"] * values[t + 1] - values[t]
            next_advantage = delta + job["gamma"] * job["lambda"] * next_advantage
            own.insert(0, next_advantage)
        advantages += own
        returns += [a + v for a, v in zip(own, values)]
    flat = torch.tensor(advantages, dtype=torch.float64)
    flat = (flat - flat.mean()) * torch.rsqrt(flat.var(unbiased=False) + 1e-8)
    return flat, torch.tensor(returns, dtype=torch.float64)


def flat_of(job, name):
    return torch.tensor([x for episode in job["episodes"] for x in episode[name]], dtype=torch.float64)


def leaves(part):
    return {
        name: torch.tensor(tensor["data"]).reshape(tensor["shape"]).requires_grad_()
        for name, tensor in part["weights"].items()
    }


def policy_loss(job, weights):
    advantages, old = flat_of(job, "advantages").float(), flat_of(job, "logprobs").float()
    logprobs, entropies = [], []
    for episode in job["episodes"]:
        prompt, response = episode["prompt"], episode["response"]
        logits = network(weights, job["heads"], job["layers"], prompt + response, False)
        table = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        logprobs.append(table.gather(1, torch.tensor(response)[:, None])[:, 0])
        entropies.append(-(table.exp() * table).sum(-1))
    ratio = (torch.cat(logprobs) - old).exp()
    clipped = ratio.clamp(1 - job["clip"], 1 + job["clip"])
    loss = torch.max(-advantages * ratio, -advantages * clipped).mean()
    loss = loss - job["entropy_coefficient"] * torch.cat(entropies).mean()
    text = [F.cross_entropy(network(weights, job["heads"], job["layers"], ids[:-1], False), torch.tensor(ids[1:]))
            for ids in job["mix"]]
    return loss + job["mix_coefficient"] * sum(text) / len(text)


def value_loss(job, weights):
    returns, old = flat_of(job, "returns").float(), flat_of(job, "values").float()
    values = []
    for episode in job["episodes"]:
        prompt, response = episode["prompt"], episode["response"]
        values.append(network(weights, job["heads"], job["layers"], prompt + response, True)[len(prompt) - 1 : -1])
    values = torch.cat(values)
    near = old + (values - old).clamp(-job["value_clip"], job["value_clip"])
    return 0.5 * torch.max((values - returns) ** 2, (near - returns) ** 2).mean()


def distance(ours, theirs, scale=None):
    scale = theirs.abs().max() if scale is None else scale
    return float((ours - theirs).abs().max() / scale)


def main():
    job = json.load(open(sys.argv[1]))
    advantages, returns = estimate(job)
    far = {
        "advantages": distance(flat_of(job, "advantages"), advantages),
        "returns": distance(flat_of(job, "returns"), returns),
    }
    for part, loss_of in (("policy", policy_loss), ("value", value_loss)):
        weights = leaves(job[part])
        loss = loss_of(job, weights)
        loss.backward()
        far[part + " loss"] = abs(job[part]["loss"] - loss.item()) / abs(loss.item())
        norm = math.sqrt(sum(float((w.grad.double() ** 2).sum()) for w in weights.values()))
        far[part + " norm"] = abs(job[part]["grad_norm"] - norm) / norm
        for name, tensor in job[part]["gradients"].items():
            ours = torch.tensor(tensor["data"]).reshape(tensor["shape"])
            # The gradient of a key's bias is 0 but for rounding: the query's says what is small.
            scale = weights[name.replace("attn.k.bias", "attn.q.bias")].grad.abs().max()
            far[part + " " + name] = distance(ours, weights[name].grad, scale)
    print(json.dumps(far))


main()
