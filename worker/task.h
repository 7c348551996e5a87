// SPDX-License-Identifier: Apache-2.0
// A kind of job (pretraining, fine-tuning, reward model, PPO) as the trainer's loop sees it: what a
// step is, what an evaluation says, and which weights a checkpoint holds. The trainer owns the
// run: directory, signals, checkpoints, restarts.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "launch/artifact.h"
#include "worker/engine.h"
#include "worker/reporter.h"

namespace talaria::worker {

using launch::Origin;

// What an evaluation found, the same on all ranks.
struct Evaluation {
  double loss = 0.0;                      // validation_loss in metrics.jsonl
  std::map<std::string, double> metrics;  // further numbers, by their names in metrics.jsonl
  std::optional<double> objective;        // where it is not the loss that shall become small

  // What checkpoint.select = "best" makes small.
  double judged() const { return objective.value_or(loss); }
};

// One of the models that a task trains or keeps, and the prefix of its groups in a checkpoint: ""
// for the one that the run hands on, "value_" for a value network.
struct TaskModel {
  std::string prefix;
  Engine* engine = nullptr;
};

// Numbers beside a model's weights, of the same shape, that a checkpoint holds in a group of its
// own.
struct TaskBuffer {
  std::string group;
  Engine* engine = nullptr;
  float* data = nullptr;  // laid out as the engine's weights
};

struct TaskResources {
  int rank = 0;
  Groups& groups;  // outlives the task
  ThreadPool& pool;
  Reporter& reporter;
  std::filesystem::path run_path;
  std::string tokenizer;  // fingerprint of the job's
  // A checkpoint of this run will be read behind build(): weights that it holds need not be found.
  bool resumes = false;
  // What the run began with; load_start adds to it, and holds a run that resumes to it.
  std::vector<Origin>& origins;
  launch::StartSection start = {};  // the job's, whose keys complaints of load_start name
};

class Task {
 public:
  virtual ~Task() = default;

  // 32 hex digits or a list of them: names the data; a run that continues must find the same.
  virtual std::string data_fingerprint() const = 0;
  // Fingerprint of the tokenizer that the data's ids are of.
  virtual std::string tokenizer() const = 0;

  // Makes the models, with the weights of job.start where it names any (start.h). Collective over
  // world, once, before what follows.
  virtual void build(const TaskResources& resources) = 0;
  virtual std::vector<TaskModel> models() = 0;
  virtual std::vector<TaskBuffer> buffers() { return {}; }
  // Once, behind build() and, in a run that continues, behind the weights and set_state().
  virtual void begin() {}

  // Step `step` (from 0). Collective over world.
  virtual StepReport step(std::int64_t step, bool stop_requested) = 0;
  // Nothing where there is nothing to evaluate on. Collective over world.
  virtual std::optional<Evaluation> evaluate() = 0;
  // What is done behind the last step, before its checkpoint. Collective over world.
  virtual void finish() {}

  // Numbers besides weights that a continued run needs, as JSON text: the same on all ranks.
  virtual std::string state() const { return "{}"; }
  virtual void set_state(const std::string& /*json*/) {}

  // Throws Error when a file that is read meanwhile is no longer what it was.
  virtual void check_unchanged() const {}

  // Of a step, for speed and MFU.
  virtual std::int64_t step_tokens() const = 0;
  virtual double step_flops() const = 0;
};

// Opens and judges the data of the job; the rank that `leads` says what it found. Throws
// UsageError.
std::unique_ptr<Task> make_task(const launch::Job& job, bool leads);

}  // namespace talaria::worker
