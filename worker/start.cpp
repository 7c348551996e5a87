// SPDX-License-Identifier: Apache-2.0
#include "worker/start.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <boost/json.hpp>

#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "cluster/base/text.h"
#include "launch/artifact.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/checkpoint/reader.h"
#include "storage/checkpoint/verify.h"
#include "worker/checkpointing.h"
#include "worker/exchange.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;

constexpr const char* kScalarHead = "value_head.";
constexpr const char* kScalarHeadWeight = "value_head.weight";

fs::path handed_on(const std::string& start, const fs::path& folder) {
  fs::path chosen = folder / launch::read_artifact(folder).value().checkpoint;
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

// The key that a user wrote for start.<role>, which is another's value where it is not written.
std::string written_key(const std::string& role, const std::string& start,
                        const launch::StartSection& all) {
  if (role == "value" && start == all.reward) return "start.reward";
  if (role != "reward" && start == all.weights) return "start.weights";
  return "start." + role;
}

// Complaints of `check` begin with the key.
template <class Check>
void naming_key(const std::string& key, const Check& check) {
  try {
    check();
  } catch (const UsageError& error) {
    fail_usage("{}: {}", key, error.what());
  }
}

// A checkpoint that says what tokenizer it was trained with must have been trained with this one.
void check_tokenizer(const fs::path& checkpoint, const std::string& meta_json,
                     const TaskResources& resources) {
  const boost::json::value meta = boost::json::parse(meta_json);
  const auto* tokenizer = meta.as_object().if_contains("tokenizer");
  if (tokenizer == nullptr || tokenizer->as_string() == resources.tokenizer) return;
  fail_usage(
      "{} was trained with another tokenizer ({}, the job's is {}); name a model of the same "
      "tokenizer, or its tokenizer as data.tokenizer",
      checkpoint.string(), std::string(tokenizer->as_string()), resources.tokenizer);
}

// A key of [start] and its value.
std::vector<std::pair<std::string, std::string>> starts_of(const launch::Job& job) {
  return {{"weights", job.start.weights},
          {"reference", job.start.reference},
          {"reward", job.start.reward},
          {"value", job.start.value}};
}

fs::path folder_of(const std::string& start, const fs::path& run_path) {
  const std::string stage = launch::started_stage(start);
  // With or without a slash at its end.
  return stage.empty() ? fs::path(start) : (run_path / "").parent_path().parent_path() / stage;
}

[[noreturn]] void refuse_folder(const std::string& start, const fs::path& folder) {
  fail_usage("{}: {} is no folder; name a run directory or a checkpoint's folder", in_quotes(start),
             folder.string());
}

const storage::TensorRecord* find_weights(const storage::Manifest& manifest,
                                          const std::string& name) {
  const auto at = std::find_if(manifest.tensors.begin(), manifest.tensors.end(),
                               [&](const storage::TensorRecord& tensor) {
                                 return tensor.group == "param" && tensor.name == name;
                               });
  return at == manifest.tensors.end() ? nullptr : &*at;
}

void check_tensor(const storage::Manifest& manifest, const fs::path& checkpoint,
                  const std::string& name, const parallel::Dims& global) {
  const storage::TensorRecord* tensor = find_weights(manifest, name);
  if (tensor == nullptr && name.starts_with(kScalarHead)) {
    fail_usage(
        "{}: a language model, no reward model: it has no {}; allowed: the run or a checkpoint of "
        "a job of kind \"reward\"",
        checkpoint.string(), name);
  }
  if (tensor == nullptr) {
    fail_usage("{}: it has no tensor {}; start from a model of the shape that [model] says",
               checkpoint.string(), name);
  }
  if (tensor->global != global) {
    fail_usage(
        "{}: {} is {} x {}, [model] says {} x {}; make [model] that of the checkpoint, or start "
        "from another one",
        checkpoint.string(), name, tensor->global[0], tensor->global[1], global[0], global[1]);
  }
}

// Refuses a model of another shape by the tensors that tell it.
void check_shape(const storage::Manifest& manifest, const fs::path& checkpoint,
                 const model::GptConfig& model) {
  check_tensor(manifest, checkpoint, "tok_embed", {model.vocab, model.hidden});
  check_tensor(manifest, checkpoint, "pos_embed", {model.context, model.hidden});
  check_tensor(manifest, checkpoint, fmt::format("blocks.{}.mlp.fc.weight", model.layers - 1),
               {model.ffn, model.hidden});
  if (find_weights(manifest, fmt::format("blocks.{}.mlp.fc.weight", model.layers)) != nullptr) {
    fail_usage(
        "{}: it has more than {} layers; make model.layers that of the checkpoint, or start from "
        "another one",
        checkpoint.string(), model.layers);
  }
}

// What the tensors' shapes do not tell: heads share their weights out in another way.
void check_heads(const fs::path& checkpoint, const model::GptConfig& wanted) {
  const TrainingState state = read_training_state(checkpoint);
  const launch::Job saved = launch::parse_job(
      ConfigFile::parse(state.job_toml, (checkpoint / storage::kManifestName).string()));
  if (saved.model.heads == wanted.heads) return;
  fail_usage(
      "{}: it is a model with {} heads, [model] says {}; make [model] that of the checkpoint, or "
      "start from another one",
      checkpoint.string(), saved.model.heads, wanted.heads);
}

// The manifest of the checkpoint that a run would begin with, were its bytes verified.
std::pair<fs::path, storage::Manifest> look_at(const std::string& start) {
  const fs::path folder = start;
  if (!fs::is_directory(folder)) refuse_folder(start, folder);
  fs::path chosen = folder;
  if (!fs::exists(folder / storage::kManifestName)) {
    const auto artifact = launch::read_artifact(folder);
    const auto saved = storage::list_checkpoints(folder / "checkpoints");
    if (!artifact && saved.empty()) {
      fail_usage("{}: no checkpoint in {}; name a run directory or a checkpoint's folder",
                 in_quotes(start), (folder / "checkpoints").string());
    }
    chosen = artifact ? folder / artifact->checkpoint : saved.front().path;
  }
  Result<storage::Manifest> manifest = storage::read_manifest(chosen);
  if (!manifest) fail_usage("{}: {}: {}", in_quotes(start), chosen.string(), manifest.error());
  return {chosen, std::move(manifest.value())};
}

// A run that resumes must find the frozen weights that it began with.
void check_same(const Origin& now, const TaskResources& resources) {
  if (!resources.resumes) return;
  for (const Origin& then : resources.origins) {
    if (then.role != now.role || then.weights_hash == now.weights_hash) continue;
    fail_usage(
        "{} has the weights {}, but the run was started with {} ({}); bring those back, or use "
        "another --run-dir",
        now.checkpoint, now.weights_hash, then.weights_hash, then.checkpoint);
  }
}

}  // namespace

fs::path resolve_start(const std::string& start, const fs::path& run_path, ThreadPool& pool) {
  const fs::path folder = folder_of(start, run_path);
  if (!fs::is_directory(folder)) refuse_folder(start, folder);
  const bool is_checkpoint = fs::exists(folder / storage::kManifestName);
  if (!is_checkpoint && !fs::exists(folder / launch::kArtifactName)) {
    return newest_of_run(start, folder, pool);
  }
  fs::path chosen = is_checkpoint ? folder : handed_on(start, folder);
  const storage::VerifyReport report = storage::verify_checkpoint(chosen, pool);
  if (!report.ok()) {
    fail("{}: damaged: {}; bring it back, or name another checkpoint", in_quotes(start),
         report.damages.front().message());
  }
  return chosen;
}

void check_starts(const launch::Job& job) {
  for (const auto& [role, start] : starts_of(job)) {
    if (start.empty() || !launch::started_stage(start).empty()) continue;
    naming_key("start." + role, [&, &role = role, &start = start] {
      const auto [checkpoint, manifest] = look_at(start);
      check_shape(manifest, checkpoint, job.model);
      if (role == "reward") {
        check_tensor(manifest, checkpoint, kScalarHeadWeight, {1, job.model.hidden});
      }
    });
  }
}

void check_origins(const launch::Job& job, const fs::path& run_path,
                   const std::vector<Origin>& origins) {
  for (const auto& [role, start] : starts_of(job)) {
    const std::string stage = launch::started_stage(start);
    const auto then =
        std::find_if(origins.begin(), origins.end(),
                     [&key = role](const Origin& origin) { return origin.role == key; });
    if (stage.empty() || then == origins.end()) continue;
    const auto now = launch::read_artifact(run_path.parent_path() / stage);
    if (!now || now->weights_hash == then->weights_hash) continue;
    fail_usage(
        "start.{}: stage {} now hands on the weights {} ({}), but {} began with {} ({}); remove "
        "that folder to train it from the new ones, or bring the old ones back",
        role, stage, now->weights_hash, now->checkpoint, run_path.string(), then->weights_hash,
        then->checkpoint);
  }
}

fs::path load_start(const std::string& role, const std::string& start, StartUse use,
                    const TaskResources& resources, Engine& engine) {
  if (start.empty() || (use == StartUse::kTrained && resources.resumes)) return {};
  parallel::Communicator& world = *resources.groups.world;
  const std::string key = written_key(role, start, resources.start);
  Origin origin;
  origin.role = role;
  agree_or_throw(world, [&] {
    if (world.rank() != 0) return;
    naming_key(key, [&] {
      origin.checkpoint = resolve_start(start, resources.run_path, resources.pool).string();
      check_heads(origin.checkpoint, engine.stage().setup().config);
    });
  });
  origin.checkpoint = broadcast_string(world, origin.checkpoint, 0);
  agree_or_throw(world, [&] {
    const storage::CheckpointReader reader(origin.checkpoint);
    origin.step = reader.manifest().step;
    origin.weights_hash = reader.manifest().weights_hash;
    const auto boxes = boxes_in(reader, engine, use);
    naming_key(key, [&] {
      check_same(origin, resources);
      check_tokenizer(origin.checkpoint, reader.manifest().meta_json, resources);
      check_shape(reader.manifest(), origin.checkpoint, engine.stage().setup().config);
      for (const parallel::NamedBox& box : boxes) {
        check_tensor(reader.manifest(), origin.checkpoint, box.tensor, box.global);
      }
    });
    reader.read(storage::weights_group(reader), boxes);
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
  reader.read(storage::weights_group(reader), boxes_in(reader, engine, StartUse::kFrozen));
}

}  // namespace talaria::worker
