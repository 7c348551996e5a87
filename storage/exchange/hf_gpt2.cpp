// SPDX-License-Identifier: Apache-2.0
#include "storage/exchange/hf_gpt2.h"

#include <charconv>
#include <numeric>

#include <fmt/format.h>

namespace talaria::storage {

std::vector<Gpt2Tensor> gpt2_tensors(const Gpt2Shape& shape) {
  const std::int64_t c = shape.hidden;
  const std::int64_t f = shape.ffn;
  std::vector<Gpt2Tensor> all;
  const auto table = [&](const char* name, std::int64_t rows, const char* theirs) {
    all.push_back({name, {rows, c}, false, c, theirs, {rows, c}, false, 0});
  };
  const auto vector = [&](const std::string& name, std::int64_t size, const std::string& theirs,
                          std::int64_t their_size, std::int64_t first) {
    all.push_back({name, {size, 1}, true, 1, theirs, {their_size}, false, first});
  };
  const auto norm = [&](const std::string& name, const std::string& theirs) {
    vector(name + ".weight", c, theirs + ".weight", c, 0);
    vector(name + ".bias", c, theirs + ".bias", c, 0);
  };
  // `hash_columns` as model/block.cpp has them, so that a weights_hash survives the way there and
  // back.
  const auto linear = [&](const std::string& name, std::int64_t out, std::int64_t in,
                          std::int64_t hash_columns, const std::string& theirs) {
    all.push_back(
        {name + ".weight", {out, in}, false, hash_columns, theirs + ".weight", {in, out}, true, 0});
    vector(name + ".bias", out, theirs + ".bias", out, 0);
  };
  table("tok_embed", shape.vocab, "wte.weight");
  table("pos_embed", shape.context, "wpe.weight");
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    const std::string ours = fmt::format("blocks.{}.", layer);
    const std::string theirs = fmt::format("h.{}.", layer);
    norm(ours + "ln1", theirs + "ln_1");
    constexpr const char* kParts[] = {"q", "k", "v"};
    for (int part = 0; part < 3; ++part) {
      all.push_back({fmt::format("{}attn.{}.weight", ours, kParts[part]),
                     {c, c},
                     false,
                     c,
                     theirs + "attn.c_attn.weight",
                     {c, 3 * c},
                     true,
                     part * c});
    }
    for (int part = 0; part < 3; ++part) {
      vector(fmt::format("{}attn.{}.bias", ours, kParts[part]), c, theirs + "attn.c_attn.bias",
             3 * c, part * c);
    }
    linear(ours + "attn.proj", c, c, c / shape.heads, theirs + "attn.c_proj");
    norm(ours + "ln2", theirs + "ln_2");
    linear(ours + "mlp.fc", f, c, c, theirs + "mlp.c_fc");
    linear(ours + "mlp.proj", c, f, f / std::gcd(f, shape.heads), theirs + "mlp.c_proj");
  }
  norm("ln_f", "ln_f");
  return all;
}

bool is_gpt2_mask(std::string_view theirs, std::int64_t layers) {
  if (!theirs.starts_with("h.")) return false;
  theirs.remove_prefix(2);
  std::int64_t layer = -1;
  const char* end = theirs.data() + theirs.size();
  const auto [stopped, error] = std::from_chars(theirs.data(), end, layer);
  if (error != std::errc() || layer < 0 || layer >= layers) return false;
  const std::string_view rest(stopped, static_cast<std::size_t>(end - stopped));
  return rest == ".attn.bias" || rest == ".attn.masked_bias";
}

}  // namespace talaria::storage
