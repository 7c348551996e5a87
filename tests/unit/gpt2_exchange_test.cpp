// SPDX-License-Identifier: Apache-2.0
// A GPT-2 there and back, bit for bit, from any layout; and the names and shapes of both sides.
#include <bit>
#include <cstring>
#include <map>
#include <numeric>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/base/file.h"
#include "model/gpt_stage.h"
#include "parallel/communicator.h"
#include "storage/exchange/gpt2_files.h"
#include "storage/exchange/safetensors.h"
#include "tests/support/text_fixtures.h"
#include "tests/unit/exchange_support.h"

namespace talaria::storage {
namespace {

namespace fs = std::filesystem;
using talaria::test::TempFolder;
using test::FileTensors;
using test::gpt2_model;
using test::refusal;
using test::small_shape;
using testing::HasSubstr;

// A checkpoint of these weights in one shard.
fs::path save(const BoxGroup& weights, const fs::path& root,
              const std::vector<BoxGroup>& more = {}) {
  const CheckpointRef ref = {root, 0, 1};
  const fs::path temporary = begin_checkpoint(ref);
  std::vector<BoxGroup> groups = {weights};
  groups.insert(groups.end(), more.begin(), more.end());
  commit_checkpoint(ref, temporary, std::vector{write_shard(temporary, 0, 1, groups)}, "{}");
  return ref.final_path();
}

// The same cut over three ranks: rows in turn, and matrices that virtual shards split by columns.
fs::path save_cut(const BoxGroup& weights, const fs::path& root) {
  const CheckpointRef ref = {root, 0, 1};
  const fs::path temporary = begin_checkpoint(ref);
  std::vector<std::string> records;
  for (int rank = 0; rank < 3; ++rank) {
    BoxGroup group{"param", {}};
    std::vector<std::vector<float>> memory;
    for (const parallel::NamedBox& whole : weights.boxes) {
      parallel::NamedBox part = whole;
      const bool columns = whole.hash_columns < whole.global[1];
      const std::size_t dim = columns ? 1 : 0;
      const std::int64_t unit = columns ? whole.hash_columns : 1;
      const auto range = parallel::row_block(whole.global[dim] / unit, 3, rank);
      part.box.offset[dim] = range.begin * unit;
      part.box.extent[dim] = (range.end - range.begin) * unit;
      std::vector<float>& values = memory.emplace_back();
      for (std::int64_t r = 0; r < part.box.extent[0]; ++r) {
        for (std::int64_t c = 0; c < part.box.extent[1]; ++c) {
          values.push_back(
              whole.data[(part.box.offset[0] + r) * whole.global[1] + part.box.offset[1] + c]);
        }
      }
      part.data = values.data();
      group.boxes.push_back(part);
    }
    records.push_back(write_shard(temporary, rank, 3, std::span(&group, 1)));
  }
  commit_checkpoint(ref, temporary, records, "{}");
  return ref.final_path();
}

fs::path export_to(const fs::path& folder, const fs::path& checkpoint, Gpt2Export options = {}) {
  options.shape = small_shape();
  fs::create_directories(folder);
  const CheckpointReader reader(checkpoint);
  check_exportable(reader, options.shape);
  export_gpt2(reader, options, folder);
  return folder;
}

// Name without prefix -> dtype, shape, bytes.
std::map<std::string, std::string> content(const fs::path& folder) {
  std::map<std::string, std::string> all;
  const TensorFolder tensors(folder);
  for (const auto& [name, entry] : tensors.tensors()) {
    const auto bytes = entry.file->bytes_of(*entry.tensor);
    const std::string short_name =
        name.starts_with(kGpt2Prefix) ? name.substr(kGpt2Prefix.size()) : name;
    all[short_name] =
        fmt::format("{} {} ", entry.tensor->dtype, fmt::join(entry.tensor->shape, "x")) +
        std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  return all;
}

TEST(Gpt2Names, AreTheEngines) {
  const Gpt2Shape s = small_shape();
  model::StageSetup setup;
  setup.config = {s.layers, s.hidden, s.heads, s.ffn, s.context, s.vocab};
  setup.last_layer = s.layers;
  setup.length = s.context;
  const auto single = parallel::make_single_communicator();
  ThreadPool pool(1);
  model::Stream stream;
  stream.pool = &pool;
  model::GptStage stage(setup, *single, stream);
  std::map<std::string, parallel::NamedBox> engine;
  for (const parallel::NamedBox& box : stage.parameters().weight_boxes()) engine[box.tensor] = box;
  const std::vector<Gpt2Tensor> tensors = gpt2_tensors(s);
  EXPECT_EQ(tensors.size(), engine.size());
  for (const Gpt2Tensor& tensor : tensors) {
    ASSERT_TRUE(engine.contains(tensor.name)) << tensor.name;
    const parallel::NamedBox& box = engine.at(tensor.name);
    EXPECT_EQ(box.global, tensor.global) << tensor.name;
    EXPECT_EQ(box.vector, tensor.vector) << tensor.name;
    EXPECT_EQ(hash_columns_of(box), tensor.hash_columns) << tensor.name;
  }
}

TEST(Gpt2Import, TransposesAndSplits) {
  const TempFolder scratch;
  const FileTensors model = gpt2_model();
  test::write_model(scratch.path(), model);
  const ImportedGpt2 imported = import_gpt2(scratch.path());
  EXPECT_EQ(imported.dtypes, "F32");
  std::map<std::string, parallel::NamedBox> boxes;
  for (const auto& box : imported.group.boxes) boxes[box.tensor] = box;
  const auto theirs = [&](const std::string& name, std::int64_t index) {
    float value = 0.0F;
    std::memcpy(&value, model.at(name).bytes.data() + 4 * index, 4);
    return value;
  };
  const std::int64_t c = 12;
  for (std::int64_t out = 0; out < c; ++out) {
    for (std::int64_t in = 0; in < c; ++in) {
      int part = 0;
      for (const char* name : {"q", "k", "v"}) {
        EXPECT_EQ(boxes.at(fmt::format("blocks.1.attn.{}.weight", name)).data[out * c + in],
                  theirs("h.1.attn.c_attn.weight", in * 3 * c + part++ * c + out));
      }
      EXPECT_EQ(boxes.at("blocks.0.attn.proj.weight").data[out * c + in],
                theirs("h.0.attn.c_proj.weight", in * c + out));
    }
    EXPECT_EQ(boxes.at("blocks.0.attn.v.bias").data[out],
              theirs("h.0.attn.c_attn.bias", 2 * c + out));
    EXPECT_EQ(boxes.at("tok_embed").data[3 * c + out], theirs("wte.weight", 3 * c + out));
    EXPECT_EQ(boxes.at("pos_embed").data[5 * c + out], theirs("wpe.weight", 5 * c + out));
    for (std::int64_t f = 0; f < 20; ++f) {
      EXPECT_EQ(boxes.at("blocks.1.mlp.fc.weight").data[f * c + out],
                theirs("h.1.mlp.c_fc.weight", out * 20 + f));
      EXPECT_EQ(boxes.at("blocks.1.mlp.proj.weight").data[out * 20 + f],
                theirs("h.1.mlp.c_proj.weight", f * c + out));
    }
  }
}

TEST(Gpt2Exchange, ThereAndBackIsTheSameBits) {
  const TempFolder scratch;
  FileTensors model = gpt2_model();
  // A NaN with a payload, and the other zero.
  const std::uint32_t odd[] = {0x7F812345U, 0x80000000U};
  std::memcpy(model.at("h.0.mlp.c_fc.weight").bytes.data(), odd, sizeof odd);
  test::write_model(scratch.path() / "a", model);
  const ImportedGpt2 imported = import_gpt2(scratch.path() / "a");
  const fs::path first = save(imported.group, scratch.path() / "c1");
  const fs::path second = save_cut(imported.group, scratch.path() / "c2");
  const std::string hash = CheckpointReader(first).manifest().weights_hash;
  EXPECT_EQ(CheckpointReader(second).manifest().weights_hash, hash);
  const auto original = content(scratch.path() / "a");
  int number = 0;
  for (const fs::path& checkpoint : {first, second}) {
    for (const std::int64_t shard_bytes :
         {std::int64_t{1}, std::int64_t{3000}, std::int64_t{1} << 40}) {
      Gpt2Export options;
      options.max_shard_bytes = shard_bytes;
      const fs::path folder =
          export_to(scratch.path() / fmt::format("b{}", ++number), checkpoint, options);
      EXPECT_EQ(content(folder), original);
      EXPECT_EQ(fs::exists(folder / "model.safetensors"), shard_bytes == std::int64_t{1} << 40);
      EXPECT_EQ(parse_gpt2_config(read_file(folder / "config.json"), "c"), small_shape());
      const ImportedGpt2 again = import_gpt2(folder);
      const fs::path copy = save(again.group, scratch.path() / fmt::format("d{}", number));
      EXPECT_EQ(CheckpointReader(copy).manifest().weights_hash, hash);
    }
  }
}

TEST(Gpt2Exchange, ShardsHaveAtMostTheirBytes) {
  const TempFolder scratch;
  test::write_model(scratch.path() / "a", gpt2_model());
  const ImportedGpt2 imported = import_gpt2(scratch.path() / "a");
  Gpt2Export options;
  options.max_shard_bytes = 4000;
  const fs::path folder =
      export_to(scratch.path() / "b", save(imported.group, scratch.path() / "c"), options);
  int files = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".safetensors") continue;
    ++files;
    const SafetensorsFile file(entry.path());
    std::size_t bytes = 0;
    for (const SafeTensor& tensor : file.tensors()) bytes += tensor.bytes;
    EXPECT_LE(bytes, 4000U);
    EXPECT_EQ(file.tensors()[0].file_begin % 8, 0U);
  }
  EXPECT_GE(files, 3);
  EXPECT_TRUE(fs::exists(folder / fmt::format("model-00001-of-{:05}.safetensors", files)));
}

TEST(Gpt2Exchange, SixteenBitsThereAndBack) {
  const TempFolder scratch;
  test::write_model(scratch.path() / "a", gpt2_model());
  const ImportedGpt2 imported = import_gpt2(scratch.path() / "a");
  const fs::path checkpoint = save(imported.group, scratch.path() / "c");
  for (const ElementType type : {ElementType::kBf16, ElementType::kF16}) {
    Gpt2Export options;
    options.extras.type = type;
    const fs::path folder =
        export_to(scratch.path() / std::string(name_of(type)), checkpoint, options);
    const ImportedGpt2 narrow = import_gpt2(folder);
    EXPECT_EQ(narrow.dtypes, name_of(type));
    ASSERT_EQ(narrow.values.size(), imported.values.size());
    int changed = 0;
    for (std::size_t i = 0; i < narrow.values.size(); ++i) {
      const float value = imported.values[i];
      const float expected = type == ElementType::kF16 ? half_to_float(float_to_half(value))
                                                       : bfloat_to_float(float_to_bfloat(value));
      ASSERT_EQ(narrow.values[i], expected);
      changed += expected != value ? 1 : 0;
    }
    EXPECT_GT(changed, 0);
    // What was imported from 16 bits is exported to the same bits.
    const fs::path copy = save(narrow.group, scratch.path() / fmt::format("{}-c", name_of(type)));
    EXPECT_EQ(
        content(export_to(scratch.path() / fmt::format("{}-b", name_of(type)), copy, options)),
        content(folder));
  }
}

TEST(Gpt2Export, RefusesANumberThatDoesNotFit) {
  const TempFolder scratch;
  test::write_model(scratch.path() / "a", gpt2_model());
  ImportedGpt2 imported = import_gpt2(scratch.path() / "a");
  imported.values.back() = 70000.0F;
  const fs::path checkpoint = save(imported.group, scratch.path() / "c");
  Gpt2Export options;
  options.extras.type = ElementType::kF16;
  EXPECT_EQ(
      refusal([&] { export_to(scratch.path() / "b", checkpoint, options); }),
      "tensor transformer.ln_f.bias: 70000 does not fit into F16; allowed: --dtype bf16 or f32");
}

TEST(Gpt2Export, RefusesWhatGpt2HasNoPlaceFor) {
  const TempFolder scratch;
  test::write_model(scratch.path() / "a", gpt2_model());
  const ImportedGpt2 imported = import_gpt2(scratch.path() / "a");
  const auto judged = [&](const BoxGroup& weights, const std::vector<BoxGroup>& more,
                          const Gpt2Shape& shape) {
    static int number = 0;
    const fs::path dir = save(weights, scratch.path() / fmt::format("c{}", ++number), more);
    const CheckpointReader reader(dir);
    return refusal([&] { check_exportable(reader, shape); });
  };
  std::vector<float> values(12, 1.0F);
  const parallel::NamedBox head = {"value_head.weight", {1, 12},       false,
                                   {{0, 0}, {1, 12}},   values.data(), 12};
  const std::string no_place =
      ": Hugging Face's GPT-2 has no place for it; allowed: a checkpoint of a language model, "
      "without "
      "a scalar head or others' tensors";
  BoxGroup weights = imported.group;
  weights.boxes.push_back(head);
  EXPECT_EQ(judged(weights, {}, small_shape()), "tensor param/value_head.weight" + no_place);
  parallel::NamedBox last = imported.group.boxes.back();
  EXPECT_EQ(judged(imported.group, {{"critic", {last}}}, small_shape()),
            "tensor critic/ln_f.bias" + no_place);
  EXPECT_EQ(judged(imported.group, {{"adam_m", {last}}, {"adam_v", {last}}}, small_shape()),
            "nothing");
  weights = imported.group;
  weights.boxes.pop_back();
  EXPECT_EQ(judged(weights, {}, small_shape()), "tensor param/ln_f.bias is missing");
  Gpt2Shape wider = small_shape();
  wider.ffn = 24;
  EXPECT_EQ(judged(imported.group, {}, wider),
            "tensor param/blocks.0.mlp.fc.bias: [20, 1], but the job file's [model] says [24, 1]");
}

}  // namespace
}  // namespace talaria::storage
