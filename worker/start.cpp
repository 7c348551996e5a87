// SPDX-License-Identifier: Apache-2.0
#include "worker/start.h"

#include <vector>

#include <boost/json.hpp>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "launch/artifact.h"
#include "storage/checkpoint/reader.h"
#include "storage/checkpoint/verify.h"
#include "worker/checkpointing.h"
#include "worker/exchange.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;

constexpr const char* kScalarHead = "value_head.";

fs::path handed_on(const std::string& start, const fs::path& folder) {
  const fs::path chosen = folder / launch::read_artifact(folder).value().checkpoint;
  if (fs::exists(chosen / storage::kManifestName)) return chosen;
  fail_usage("{}: the run hands on {}, which is gone; train again, or name a checkpoint",
             in_quotes(start), chosen.string());
}

fs::path newest_of_run(const std::string& start, const fs::path& folder, ThreadPool& pool) {
  const storage::Restored found = storage::find_restorable(folder / "checkpoints", pool);
  for (const storage::Skipped& each : found.skipped) {
    log_warning("{}: {}", each.path.string(), each.reason);
  }
  if (!found.checkpoint) {
    fail_usage(
        "{}: no checkpoint that verifies in {}; name a run directory or a checkpoint's "
        "folder, or run that stage first",
        in_quotes(start), (folder / "checkpoints").string());
  }
  return found.checkpoint->path;
}

// What the tensors' shapes do not tell: heads share their weights out in another way, and further
// layers would be left out without a word.
void check_model(const fs::path& checkpoint, const model::GptConfig& wanted) {
  const TrainingState state = read_training_state(checkpoint);
  const model::GptConfig saved =
      launch::parse_job(
          ConfigFile::parse(state.job_toml, (checkpoint / storage::kManifestName).string()))
          .model;
  const auto compare = [&](const char* key, std::int64_t found, std::int64_t want) {
    if (found == want) return;
    fail_usage(
        "{}: it is a model with {} {}, [model] says {}; make [model] that of the checkpoint, or "
        "start from another one",
        checkpoint.string(), key, found, want);
  };
  compare("layers", saved.layers, wanted.layers);
  compare("hidden", saved.hidden, wanted.hidden);
  compare("heads", saved.heads, wanted.heads);
  compare("ffn", saved.ffn, wanted.ffn);
  compare("context", saved.context, wanted.context);
  compare("vocab", saved.vocab, wanted.vocab);
}

// The group with the weights that a checkpoint hands on.
std::string weights_group(const storage::CheckpointReader& reader) {
  return reader.find(kAveragedGroup, "ln_f.weight") != nullptr ? kAveragedGroup : "param";
}

// The engine's weights, without a scalar head that is to be trained and that the checkpoint lacks.
std::vector<parallel::NamedBox> boxes_in(const storage::CheckpointReader& reader, Engine& engine,
                                         StartUse use) {
  std::vector<parallel::NamedBox> boxes = engine.stage().parameters().weight_boxes();
  if (use == StartUse::kFrozen) return boxes;
  std::erase_if(boxes, [&](const parallel::NamedBox& box) {
    return box.tensor.starts_with(kScalarHead) && reader.find("param", box.tensor) == nullptr;
  });
  return boxes;
}

// A checkpoint that says what tokenizer it was trained with must have been trained with this one.
void check_tokenizer(const Origin& origin, const std::string& meta_json,
                     const TaskResources& resources) {
  const boost::json::value meta = boost::json::parse(meta_json);
  const auto* tokenizer = meta.as_object().if_contains("tokenizer");
  if (tokenizer == nullptr || tokenizer->as_string() == resources.tokenizer) return;
  fail_usage(
      "start.{}: {} was trained with another tokenizer ({}, the job's is {}); name a model of "
      "the same tokenizer, or its tokenizer as data.tokenizer",
      origin.role, origin.checkpoint, std::string(tokenizer->as_string()), resources.tokenizer);
}

// Refuses tensors of another shape, one by one.
void check_shape(const storage::CheckpointReader& reader, const fs::path& checkpoint,
                 const std::vector<parallel::NamedBox>& boxes) {
  for (const parallel::NamedBox& box : boxes) {
    const storage::TensorRecord* tensor = reader.find("param", box.tensor);
    if (tensor == nullptr) {
      fail_usage("{}: it has no tensor {}; start from a model of the shape that [model] says",
                 checkpoint.string(), box.tensor);
    }
    if (tensor->global != box.global) {
      fail_usage(
          "{}: {} is {} x {}, [model] says {} x {}; make [model] that of the checkpoint, or "
          "start from another one",
          checkpoint.string(), box.tensor, tensor->global[0], tensor->global[1], box.global[0],
          box.global[1]);
    }
  }
}

// A run that resumes must find the frozen weights that it began with.
void check_same(const Origin& now, const TaskResources& resources) {
  if (!resources.resumes) return;
  for (const Origin& then : resources.origins) {
    if (then.role != now.role || then.weights_hash == now.weights_hash) continue;
    fail_usage(
        "start.{}: {} has the weights {}, but the run was started with {} ({}); bring those "
        "back, or use another --run-dir",
        now.role, now.checkpoint, now.weights_hash, then.weights_hash, then.checkpoint);
  }
}

}  // namespace

fs::path resolve_start(const std::string& start, const fs::path& run_path, ThreadPool& pool) {
  const std::string stage = launch::started_stage(start);
  // With or without a slash at its end.
  const fs::path run = (run_path / "").parent_path();
  const fs::path folder = stage.empty() ? fs::path(start) : run.parent_path() / stage;
  if (!fs::is_directory(folder)) {
    fail_usage("{}: {} is no folder; name a run directory or a checkpoint's folder",
               in_quotes(start), folder.string());
  }
  const bool is_checkpoint = fs::exists(folder / storage::kManifestName);
  if (!is_checkpoint && !fs::exists(folder / launch::kArtifactName)) {
    return newest_of_run(start, folder, pool);
  }
  const fs::path chosen = is_checkpoint ? folder : handed_on(start, folder);
  const storage::VerifyReport report = storage::verify_checkpoint(chosen, pool);
  if (!report.ok()) {
    fail("{}: damaged: {}; bring it back, or name another checkpoint", in_quotes(start),
         report.damages.front().message());
  }
  return chosen;
}

fs::path load_start(const std::string& role, const std::string& start, StartUse use,
                    const TaskResources& resources, Engine& engine) {
  if (start.empty() || (use == StartUse::kTrained && resources.resumes)) return {};
  parallel::Communicator& world = *resources.groups.world;
  Origin origin;
  origin.role = role;
  agree_or_throw(world, [&] {
    if (world.rank() != 0) return;
    origin.checkpoint = resolve_start(start, resources.run_path, resources.pool).string();
    check_model(origin.checkpoint, engine.stage().setup().config);
  });
  origin.checkpoint = broadcast_string(world, origin.checkpoint, 0);
  agree_or_throw(world, [&] {
    const storage::CheckpointReader reader(origin.checkpoint);
    origin.step = reader.manifest().step;
    origin.weights_hash = reader.manifest().weights_hash;
    check_same(origin, resources);
    check_tokenizer(origin, reader.manifest().meta_json, resources);
    const auto boxes = boxes_in(reader, engine, use);
    check_shape(reader, origin.checkpoint, boxes);
    reader.read(weights_group(reader), boxes);
  });
  if (world.rank() == 0) {
    log_info("start.{}: {} (step {}, weights {})", role, origin.checkpoint, origin.step,
             origin.weights_hash);
  }
  fs::path checkpoint = origin.checkpoint;
  if (!resources.resumes) resources.origins.push_back(std::move(origin));
  return checkpoint;
}

void read_start(const fs::path& checkpoint, Engine& engine) {
  const storage::CheckpointReader reader(checkpoint);
  reader.read(weights_group(reader), boxes_in(reader, engine, StartUse::kFrozen));
}

}  // namespace talaria::worker
