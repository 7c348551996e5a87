// SPDX-License-Identifier: Apache-2.0
// Models of Hugging Face that would not be computed alike: refused, naming what and why.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/exchange/gpt2_files.h"
#include "tests/support/text_fixtures.h"
#include "tests/unit/exchange_support.h"

namespace talaria::storage {
namespace {

namespace fs = std::filesystem;
using talaria::test::TempFolder;
using test::FileTensors;
using test::gpt2_model;
using test::refusal;
using test::small_config;
using testing::HasSubstr;

// small_config() with the line of `key` in another form; "" leaves it away.
std::string config_with(const std::string& key, const std::string& value) {
  std::string text = small_config();
  const std::size_t at = text.find("\"" + key + "\"");
  if (at != std::string::npos) text.erase(at, text.find('\n', at) + 1 - at);
  if (!value.empty()) text.insert(1, "\"" + key + "\": " + value + ",\n");
  return text;
}

std::string parsed(const std::string& config) {
  return refusal([&] { parse_gpt2_config(config, "c"); });
}

TEST(Gpt2Config, GivesTheShape) {
  EXPECT_EQ(parse_gpt2_config(small_config(), "c"), test::small_shape());
  Gpt2Shape usual = test::small_shape();
  usual.ffn = 48;
  EXPECT_EQ(parse_gpt2_config(config_with("n_inner", "null"), "c"), usual);
  EXPECT_EQ(parse_gpt2_config(config_with("n_inner", ""), "c"), usual);
  for (const char* key :
       {"n_ctx", "n_positions", "activation_function", "layer_norm_epsilon", "architectures"}) {
    EXPECT_EQ(parse_gpt2_config(config_with(key, ""), "c"), test::small_shape()) << key;
  }
  for (const auto& [key, value] :
       std::map<std::string, std::string>{{"layer_norm_epsilon", "0.00001"},
                                          {"scale_attn_weights", "true"},
                                          {"tie_word_embeddings", "true"},
                                          {"pruned_heads", "{}"},
                                          {"quantization_config", "null"},
                                          {"architectures", "null"},
                                          {"reorder_and_upcast_attn", "true"},
                                          {"resid_pdrop", "0.3"}}) {
    EXPECT_EQ(parse_gpt2_config(config_with(key, value), "c"), test::small_shape()) << key;
  }
}

TEST(Gpt2Config, IsWrittenAsItIsRead) {
  for (const std::int64_t ffn : {48, 20}) {
    Gpt2Shape shape = test::small_shape();
    shape.ffn = ffn;
    const std::string text = gpt2_config_text(shape, {ElementType::kBf16, 0.1, 10});
    EXPECT_EQ(parse_gpt2_config(text, "c"), shape);
    EXPECT_THAT(text, HasSubstr("\"torch_dtype\": \"bfloat16\""));
    EXPECT_THAT(text, HasSubstr("\"resid_pdrop\": 0.1,"));
    EXPECT_THAT(text, HasSubstr("\"eos_token_id\": 10,"));
    EXPECT_THAT(text, HasSubstr(ffn == 48 ? "\"n_inner\": null" : "\"n_inner\": 20"));
  }
}

TEST(Gpt2Config, RefusesWhatIsNotComputedAlike) {
  const std::string computed = "which is what is computed here";
  const std::vector<std::array<std::string, 3>> cases = {
      {"model_type", "", "missing; allowed: \"gpt2\""},
      {"model_type", "\"llama\"", "found \"llama\"; allowed: \"gpt2\""},
      {"architectures", "[\"GPT2ForSequenceClassification\"]",
       "found \"GPT2ForSequenceClassification\"; allowed: GPT2LMHeadModel or GPT2Model, as no "
       "other "
       "head is computed here"},
      {"activation_function", "\"relu\"", "found \"relu\"; allowed: \"gelu_new\", " + computed},
      {"activation_function", "\"gelu\"", "found \"gelu\"; allowed: \"gelu_new\", " + computed},
      {"activation_function", "null",
       "found another kind of value; allowed: \"gelu_new\", " + computed},
      {"layer_norm_epsilon", "1e-6", "found 1e-06; allowed: 1e-05, " + computed},
      {"scale_attn_weights", "false", "found false; allowed: true, " + computed},
      {"scale_attn_by_inverse_layer_idx", "true", "found true; allowed: false, " + computed},
      {"add_cross_attention", "true", "found true; allowed: false, " + computed},
      {"is_encoder_decoder", "true", "found true; allowed: false, " + computed},
      {"tie_word_embeddings", "false", "found false; allowed: true, " + computed},
      {"pruned_heads", "{\"1\":[0]}",
       "found heads; allowed: none, as every layer has the same number here"},
      {"quantization_config", "{\"bits\":4}", "found quantised weights; allowed: F32, F16 or BF16"},
      {"auto_map", "{}", "the model brings its own code; allowed: transformers' GPT-2"},
      {"n_layer", "", "missing"},
      {"n_layer", "0", "found 0; allowed: an integer from 1 to 16384"},
      {"n_layer", "-3", "found -3; allowed: an integer from 1 to 16384"},
      {"n_layer", "1000000000", "found 1000000000; allowed: an integer from 1 to 16384"},
      {"n_embd", "1000000", "found 1000000; allowed: an integer from 1 to 262144"},
      {"n_inner", "0", "found 0; allowed: an integer from 1 to 1048576"},
      {"vocab_size", "99999999", "found 99999999; allowed: an integer from 1 to 16777216"},
      {"n_head", "5", "found 5; allowed: a divisor of n_embd (12)"}};
  for (const auto& [key, value, message] : cases) {
    EXPECT_EQ(parsed(config_with(key, value)), fmt::format("c: {}: {}", key, message));
  }
  EXPECT_EQ(parsed(config_with("n_ctx", "7")),
            "c: n_positions: found 6, beside 7; allowed: n_positions and n_ctx that agree");
  EXPECT_EQ(parsed(config_with("n_layer", "2.0")), "c: byte 12: expected a whole number");
  EXPECT_EQ(parsed("{\"n_layer\":1,\"n_layer\":2}"),
            "c: byte 13: the name \"n_layer\" is there already");
  EXPECT_EQ(parsed("[]"), "c: byte 0: expected an object");
}

class Gpt2Folder : public testing::Test {
 protected:
  std::string imported(const FileTensors& tensors,
                       const std::string& config = small_config()) const {
    const fs::path folder = scratch_.path() / "m";
    fs::remove_all(folder);
    test::write_model(folder, tensors, config);
    std::string message = refusal([&] { import_gpt2(folder); });
    for (std::size_t at; (at = message.find(folder.string())) != std::string::npos;) {
      message.replace(at, folder.string().size(), "DIR");
    }
    return message;
  }
  TempFolder scratch_;
};

TEST_F(Gpt2Folder, TensorsAreExactlyThoseOfTheModel) {
  const std::string file = "DIR/model.safetensors: tensor ";
  EXPECT_EQ(imported(gpt2_model()), "nothing");

  FileTensors model = gpt2_model();
  model.erase("h.1.mlp.c_fc.bias");
  EXPECT_EQ(imported(model),
            "DIR: tensor \"h.1.mlp.c_fc.bias\" is missing; config.json says 2 layers");

  model = gpt2_model();
  model["h.2.ln_1.weight"] = model.at("h.1.ln_1.weight");
  EXPECT_EQ(imported(model),
            file + "\"h.2.ln_1.weight\": not of a GPT-2 with 2 layers and a tied head");
  model = gpt2_model();
  model["score.weight"] = model.at("ln_f.bias");
  EXPECT_EQ(imported(model),
            file + "\"score.weight\": not of a GPT-2 with 2 layers and a tied head");
  model = gpt2_model();
  model["transformer.ln_f.bias"] = model.at("ln_f.bias");
  EXPECT_EQ(imported(model),
            file + "\"transformer.ln_f.bias\": not of a GPT-2 with 2 layers and a tied head");

  // [out, in], as torch.nn.Linear keeps it.
  model = gpt2_model();
  model.at("h.0.mlp.c_fc.weight").shape = {20, 12};
  EXPECT_EQ(imported(model),
            file + "\"h.0.mlp.c_fc.weight\": shape [20, 12]; config.json says [12, 20]");
  model = gpt2_model();
  model.at("ln_f.bias").shape = {1, 12};
  EXPECT_EQ(imported(model), file + "\"ln_f.bias\": shape [1, 12]; config.json says [12]");
  EXPECT_EQ(imported(gpt2_model(), config_with("vocab_size", "12")),
            file + "\"wte.weight\": shape [11, 12]; config.json says [12, 12]");

  model = gpt2_model();
  model.at("ln_f.bias") = {"I32", {12}, std::string(48, '\0')};
  EXPECT_EQ(imported(model), file + "\"ln_f.bias\": dtype I32; allowed: F32, F16 or BF16");
}

TEST_F(Gpt2Folder, AHeadMustBeTheTokenTable) {
  FileTensors model = gpt2_model();
  model["lm_head.weight"] = model.at("wte.weight");
  EXPECT_EQ(imported(model), "nothing");
  model["lm_head.weight"].bytes.back() ^= 1;
  const std::string differs =
      "DIR/model.safetensors: tensor \"lm_head.weight\": differs from \"wte.weight\"; allowed: a "
      "head tied to it, bit for bit";
  EXPECT_EQ(imported(model), differs);
  model["lm_head.weight"] = {"BF16", {11, 12}, std::string(264, '\0')};
  EXPECT_EQ(imported(model), differs);
}

TEST_F(Gpt2Folder, MasksAreLeftOut) {
  FileTensors model = gpt2_model();
  model["h.0.attn.bias"] = {"BOOL", {1, 1, 6, 6}, std::string(36, '\1')};
  model["h.1.attn.masked_bias"] = {"F64", {}, std::string(8, '\1')};
  EXPECT_EQ(imported(model), "nothing");
  model["h.2.attn.bias"] = model["h.0.attn.bias"];
  EXPECT_THAT(imported(model), HasSubstr("\"h.2.attn.bias\": not of a GPT-2"));
  EXPECT_TRUE(is_gpt2_mask("h.12.attn.bias", 13));
  for (const char* name : {"h.-1.attn.bias", "h..attn.bias", "h.1.attn.bias2", "x.1.attn.bias",
                           "h.99999999999999999999.attn.bias", "h.1", "h.", ""}) {
    EXPECT_FALSE(is_gpt2_mask(name, 13)) << name;
  }
}

TEST_F(Gpt2Folder, AMissingConfigIsSaid) {
  test::write(scratch_.path() / "model.safetensors", test::safetensors(gpt2_model()));
  EXPECT_THAT(refusal([&] { import_gpt2(scratch_.path()); }),
              HasSubstr("config.json: no such file"));
}

}  // namespace
}  // namespace talaria::storage
