// SPDX-License-Identifier: Apache-2.0
#include "worker/checkpointing.h"

#include <algorithm>
#include <bit>
#include <span>

#include <boost/json.hpp>

#include "cluster/base/error.h"
#include "launch/artifact_json.h"
#include "model/cpu/isa.h"
#include "storage/checkpoint/reader.h"
#include "storage/checkpoint/verify.h"
#include "worker/exchange.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

json::object describe(const launch::Job& job, const TrainingState& state) {
  const parallel::Layout& layout = job.parallel.layout;
  json::object meta;
  meta["job"] = state.job_toml;
  meta["layout"] =
      json::object{{"tensor", layout.tensor}, {"pipeline", layout.pipeline}, {"data", layout.data}};
  // The loader's whole state is one integer; every random number is a function of seed and step.
  meta["loader"] = json::object{{"next_sample", state.step * job.train.global_batch},
                                {"fingerprint", state.data_fingerprint}};
  meta["rng"] = json::object{{"kind", "philox4x32-10"}, {"seed", job.job.seed}};
  meta["optimizer"] = json::object{
      {"updates", state.updates},
      {"nonfinite_in_a_row", state.nonfinite_in_a_row},
      {"learning_rate", model::learning_rate(learning_rate_schedule(job), state.step)}};
  meta["best"] = json::object{{"step", state.best_step},
                              {"loss_bits", std::bit_cast<std::int64_t>(state.best_loss)}};
  if (!state.tokenizer.empty()) meta["tokenizer"] = state.tokenizer;
  meta["task"] = json::parse(state.task);
  meta["start"] = launch::to_json(state.origins);
  meta["build"] = build_identity();
  return meta;
}

// An imported checkpoint has no moments (adam_m, adam_v), which a run continues with.
void refuse_weights_only(const fs::path& checkpoint) {
  const storage::CheckpointReader reader(checkpoint);
  const auto& tensors = reader.manifest().tensors;
  if (std::any_of(tensors.begin(), tensors.end(),
                  [](const auto& t) { return t.group == "adam_m"; })) {
    return;
  }
  fail_usage(
      "{}: holds weights only, without the optimizer's moments (adam_m, adam_v), so no run can "
      "continue from it; choose another --run-dir",
      checkpoint.string());
}

// Boxes of the engine's weights, moved to the same places of the buffer.
std::vector<parallel::NamedBox> moved(const TaskBuffer& buffer,
                                      std::vector<parallel::NamedBox> boxes) {
  const float* weights = buffer.engine->stage().parameters().weights();
  for (parallel::NamedBox& box : boxes) box.data = buffer.data + (box.data - weights);
  return boxes;
}

}  // namespace

std::string build_identity() {
  return fmt::format("{}, oneDNN {}", model::cpu::cpu_kernels_isa(), model::cpu::onednn_version());
}

fs::path save_checkpoint(Task& task, parallel::Communicator& world, const launch::Job& job,
                         const TrainingState& state, const fs::path& root, int attempt,
                         ThreadPool& pool) {
  const storage::CheckpointRef ref = {root, state.step, attempt};
  const bool leads = world.rank() == 0;
  const fs::path temporary =
      broadcast_string(world, leads ? storage::begin_checkpoint(ref).string() : "", 0);

  std::vector<storage::BoxGroup> groups;
  for (const TaskModel& model : task.models()) {
    model::Optimizer& optimizer = model.engine->optimizer();
    groups.push_back({model.prefix + "param", optimizer.owned_weights()});
    groups.push_back({model.prefix + "adam_m", optimizer.owned_moments(0)});
    groups.push_back({model.prefix + "adam_v", optimizer.owned_moments(1)});
  }
  for (const TaskBuffer& buffer : task.buffers()) {
    groups.push_back({buffer.group, moved(buffer, buffer.engine->optimizer().owned_weights())});
  }
  const std::string record = storage::write_shard(temporary, world.rank(), world.size(), groups);
  const std::vector<std::string> records = gather_strings(world, record);
  if (leads) {
    storage::commit_checkpoint(ref, temporary, records, json::serialize(describe(job, state)));
    storage::prune_checkpoints(root, job.checkpoint.keep, pool, state.best_step);
  }
  world.barrier();
  return ref.final_path();
}

fs::path save_weights(const storage::BoxGroup& weights, const launch::Job& job,
                      const TrainingState& state, const fs::path& root) {
  if (!storage::step_folders(root).empty()) {
    fail_usage("{}: holds checkpoints already; choose another folder", root.string());
  }
  const storage::CheckpointRef ref = {root, state.step, 1};
  const fs::path temporary = storage::begin_checkpoint(ref);
  const std::vector<std::string> records = {
      storage::write_shard(temporary, 0, 1, std::span(&weights, 1))};
  storage::commit_checkpoint(ref, temporary, records, json::serialize(describe(job, state)));
  return ref.final_path();
}

TrainingState read_training_state(const fs::path& checkpoint) {
  const storage::CheckpointReader reader(checkpoint);
  TrainingState state;
  state.step = reader.manifest().step;
  try {
    const json::value meta = json::parse(reader.manifest().meta_json);
    const json::value& optimizer = meta.at("optimizer");
    state.updates = optimizer.at("updates").to_number<std::int64_t>();
    state.nonfinite_in_a_row = optimizer.at("nonfinite_in_a_row").to_number<int>();
    const json::value& best = meta.at("best");
    state.best_step = best.at("step").to_number<std::int64_t>();
    state.best_loss = std::bit_cast<double>(best.at("loss_bits").to_number<std::int64_t>());
    state.task = json::serialize(meta.at("task"));
    state.origins = launch::parse_origins(meta.at("start"));
    state.data_fingerprint = std::string(meta.at("loader").at("fingerprint").as_string());
    const json::value* tokenizer = meta.as_object().if_contains("tokenizer");
    if (tokenizer != nullptr) state.tokenizer = std::string(tokenizer->as_string());
    state.job_toml = std::string(meta.at("job").as_string());
    state.build = std::string(meta.at("build").as_string());
  } catch (const std::exception& error) {
    fail_usage("{}/manifest.json: meta: {}; this checkpoint was not written by a training run",
               checkpoint.string(), error.what());
  }
  return state;
}

std::optional<FoundCheckpoint> find_checkpoint(const fs::path& root, ThreadPool& pool,
                                               std::vector<std::string>& skipped) {
  const storage::Restored restored = storage::find_restorable(root, pool);
  for (const storage::Skipped& each : restored.skipped) {
    skipped.push_back(fmt::format("{}: {}", each.path.string(), each.reason));
  }
  if (!restored.checkpoint) return std::nullopt;
  FoundCheckpoint found;
  found.path = restored.checkpoint->path;
  refuse_weights_only(found.path);
  found.state = read_training_state(found.path);
  if (found.state.build != build_identity()) {
    found.warnings.push_back(fmt::format(
        "{} was written with {}, this is {}: the run continues, but not with the same bits",
        found.path.string(), found.state.build, build_identity()));
  }
  return found;
}

void load_checkpoint(Task& task, const fs::path& checkpoint, const TrainingState& state) {
  const storage::CheckpointReader reader(checkpoint);
  for (const TaskModel& model : task.models()) {
    Engine& engine = *model.engine;
    reader.read(model.prefix + "param", engine.stage().parameters().weight_boxes());
    reader.read(model.prefix + "adam_m", engine.optimizer().needed_moments(0));
    reader.read(model.prefix + "adam_v", engine.optimizer().needed_moments(1));
    engine.optimizer().set_updates(state.updates);
  }
  for (const TaskBuffer& buffer : task.buffers()) {
    reader.read(buffer.group, moved(buffer, buffer.engine->stage().parameters().weight_boxes()));
  }
}

}  // namespace talaria::worker
