// SPDX-License-Identifier: Apache-2.0
// The job file: what a user asks for, as plain structs. parse_job reads and judges it; everything
// that can be judged without data, storage or MPI is judged here, before anything starts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/base/config.h"
#include "model/config.h"
#include "parallel/mesh.h"

namespace talaria::launch {

struct JobSection {
  std::string name;
  std::string kind = "pretrain";
  std::uint64_t seed = 1;
  model::Numerics numerics;  // key numerics = "fast" | "invariant", virtual_shards, sample_groups
};

struct ClusterSection {
  std::string launcher = "local";  // local | mpirun | slurm
  int ranks = 1;                   // default: the layout's world size
  int threads_per_rank = 1;
  std::string device = "cpu";  // cpu; cuda is refused in this version
  int max_restarts = 3;
  std::vector<std::string> hosts;    // "node1:4": name and ranks there; empty: this machine
  std::string launch_agent = "ssh";  // what starts Open MPI's daemon on a host
  double memory_gib = 0.0;           // for all ranks of a node; 0: no limit
};

// What the coordinator and the launcher watch, in seconds (docs/orchestrator.md).
struct MonitorSection {
  double beat_seconds = 0.0;  // between reports of a rank; 0: Job::beat_seconds
  // The longest that a rank may stay in a phase; 0: learned from the run.
  double start_seconds = 0.0;
  double setup_seconds = 0.0;
  double restore_seconds = 0.0;
  double rollout_seconds = 0.0;
  double score_seconds = 0.0;
  double step_seconds = 0.0;
  double evaluate_seconds = 0.0;
  double save_seconds = 0.0;
  double finish_seconds = 0.0;
  double stopped_seconds = 30.0;      // how long mpirun may stay stopped
  double stop_grace_seconds = 600.0;  // from a stop request to the kill
};

struct ParallelSection {
  parallel::Layout layout;        // keys tensor, pipeline, data
  std::string schedule = "1f1b";  // gpipe | 1f1b
  bool zero = true;               // ZeRO-1: optimizer state sharded over dp
};

struct DataSource {
  std::string path;  // a token file made by `data prepare`
  double weight = 1.0;
};

struct DataSection {
  std::vector<DataSource> sources;
  std::string tokenizer;           // folder made by `data prepare`
  double validation = 0.01;        // share of documents or lines, by hash, kept from training
  std::vector<std::string> files;  // JSONL: conversations, comparisons or prompts
  std::string chat = "chatml";     // key template: how a conversation is spelled
  std::int64_t max_bad_lines = 0;  // of all files
  bool packing = true;             // several conversations a row
};

// Whose weights a run begins with: a run directory, a checkpoint's folder, or "stage:NAME". Empty:
// weights drawn from the seed.
struct StartSection {
  std::string weights;    // of the model that is trained
  std::string reference;  // ppo: what the policy is held to; default: weights
  std::string reward;     // ppo, sft: the reward model
  std::string value;      // ppo: the value network; default: reward, else weights
};

// Rows of pretraining text beside the main rows of a batch (sft, ppo).
struct MixSection {
  std::int64_t rows = 0;
  double coefficient = 1.0;  // of their mean loss a token
};

struct RewardSection {
  std::vector<std::string> demonstrations;  // conversations whose mean reward shall be 0
};

// What a response is given (ppo): model x the reward model's + rule_weight x the rule's.
struct RewardsSection {
  double model = 1.0;
  std::string rule = "none";  // none | exact | match | share
  std::string pattern;
  std::string of;
  std::string compare = "no";  // no | text | number: a match's group 1 with the prompt's answer
  bool count = true;           // of match: false gives 1 where there is one
  double rule_weight = 1.0;
  double clip = 0.0;              // largest magnitude of the score; 0: none
  double unfinished_score = 0.0;  // in the place of the score where no stop token came ...
  bool score_unfinished = true;   // ... and this is false
};

struct PpoSection {
  std::int64_t rollout_batch = 0;  // episodes an iteration; default: train.global_batch
  std::int64_t response_tokens = 64;
  std::int64_t slots = 32;  // sequences that a replica decodes at once
  double temperature = 1.0;
  std::int64_t top_k = 0;
  double top_p = 1.0;
  std::int64_t epochs = 1;  // over an iteration's episodes
  double clip = 0.2;
  double value_clip = 0.2;
  double gamma = 1.0;
  double lambda = 0.95;
  bool whiten_advantages = true;
  bool whiten_rewards = false;
  std::string kl = "fixed";  // fixed | adaptive
  double kl_coefficient = 0.02;
  double kl_target = 6.0;
  double kl_horizon = 10000.0;
  double entropy_coefficient = 0.0;
  double stop_kl = 0.0;              // approximate KL that ends an iteration's updates; 0: none
  double value_learning_rate = 0.0;  // default: optimizer.learning_rate
  double ema = 0.0;                  // decay of the averaged weights; 0: none are kept
  bool offload = false;              // frozen models are read anew when they are needed
};

struct TrainSection {
  std::int64_t steps = 0;  // exactly one of steps and tokens is given; both are filled
  std::int64_t tokens = 0;
  std::int64_t global_batch = 8;     // samples a step
  std::int64_t micro_batch = 1;      // samples
  std::int64_t sequence_length = 0;  // T; default: model.context
  double dropout = 0.0;
  std::int64_t eval_every = 0;     // steps; 0: only at the end
  std::int64_t eval_samples = 64;  // validation samples an evaluation reads, at most
};

struct OptimizerSection {
  double learning_rate = 6e-4;
  double min_learning_rate = 6e-5;  // default: learning_rate / 10
  std::int64_t warmup_steps = 0;
  std::string decay = "cosine";  // cosine | linear | constant
  std::int64_t decay_steps = 0;  // default: train.steps at the first start
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  double clip = 1.0;  // global norm; 0: off
};

struct CheckpointSection {
  std::int64_t every = 0;       // steps; 0: only at the end
  std::int64_t keep = 3;        // newest checkpoints kept
  std::string select = "last";  // last | best: which one the run hands on
};

struct Job {
  JobSection job;
  ClusterSection cluster;
  ParallelSection parallel;
  model::GptConfig model;
  DataSection data;
  TrainSection train;
  OptimizerSection optimizer;
  CheckpointSection checkpoint;
  StartSection start;
  MixSection mix;
  RewardSection reward;
  RewardsSection rewards;
  PpoSection ppo;
  MonitorSection monitor;

  // The file with --set applied and with what the first start fixes written out; saved with the run
  // and each checkpoint. Parsing it gives this job.
  std::string effective_toml;

  // Rows of one optimizer step: the main ones, and those of the mix.
  std::int64_t step_rows() const { return train.global_batch + mix.rows; }
  std::int64_t samples_per_rank() const { return step_rows() / parallel.layout.data; }
  std::int64_t micro_batches() const { return samples_per_rank() / train.micro_batch; }
  // Seconds between two reports of a rank: as given, else 1, and 5 above 64 ranks.
  double beat_seconds() const;
  std::int64_t memory_limit() const;  // bytes for all ranks of a node; 0: none
};

struct HostSlots {
  std::string name;
  int slots = 1;
};
// cluster.hosts with the slots of each; without slots in the file, the ranks shared out evenly.
// Throws UsageError for what parse_job would refuse as a host.
std::vector<HostSlots> host_slots(const ClusterSection& cluster);
// The same as mpirun's --host takes it: "node1:8,node2:8".
std::string host_list(const ClusterSection& cluster);

// Reads and validates. Throws UsageError with one line "file:line: key: what, what is allowed".
Job parse_job(const ConfigFile& file);

// NAME of a start.* value "stage:NAME"; "" for a path.
std::string started_stage(const std::string& start);

// What parse_job and continue_job read for one stage: its own job file, with the lines of `file`.
// An empty name stands for a file without stages, which is given back. Throws UsageError for a file
// of which any stage is refused, and for a stage that it has not.
ConfigFile stage_file(ConfigFile file, const std::string& stage);

// What a continued run may not change (docs/job-file.md, "Continuing a run"): compares `now` with
// the job that a checkpoint was written by; throws UsageError naming the key and both values.
// `parallel`, `cluster`, `checkpoint`, `monitor`, `train.micro_batch` may differ, `train.steps` may
// grow.
void check_continuation(const Job& saved, const Job& now);

// The job of a run that continues from a checkpoint written by `saved`: what the file leaves open
// and the first start fixed (virtual_shards, sample_groups, decay_steps) is taken from `saved`,
// then check_continuation, with the line of the file in its message.
Job continue_job(const ConfigFile& file, const Job& saved);

}  // namespace talaria::launch
