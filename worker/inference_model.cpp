// SPDX-License-Identifier: Apache-2.0
#include "worker/inference_model.h"

#include <algorithm>
#include <thread>

#include "cluster/base/error.h"
#include "worker/checkpointing.h"
#include "worker/exchange.h"
#include "worker/start.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;

// Which ranks the model may be spread over.
void check_layout(const launch::Job& job, const parallel::Layout& layout, int world) {
  if (layout.world_size() != world) {
    fail_usage("--tensor {} x --pipeline {} are {} ranks, found {}; start with mpirun -n {}",
               layout.tensor, layout.pipeline, layout.world_size(), world, layout.world_size());
  }
  const model::GptConfig& config = job.model;
  const bool fixed = job.job.numerics.invariant;
  const auto divides = [&](std::int64_t number) { return number % layout.tensor == 0; };
  if (!divides(config.heads) || !divides(config.hidden) || !divides(config.ffn) ||
      (fixed && !divides(job.job.numerics.virtual_shards))) {
    fail_usage(
        "--tensor {}: allowed are divisors of heads {}, hidden {} and ffn {}{}", layout.tensor,
        config.heads, config.hidden, config.ffn,
        fixed ? fmt::format(" and of virtual_shards {}", job.job.numerics.virtual_shards) : "");
  }
  if (layout.pipeline > config.layers + 1) {
    fail_usage("--pipeline {}: allowed are 1 to {} (layers + 1)", layout.pipeline,
               config.layers + 1);
  }
}

model::StageSetup make_setup(const launch::Job& job, int rank, model::HeadKind head) {
  model::StageSetup setup;
  setup.head = head;
  setup.config = job.model;
  setup.numerics = job.job.numerics;
  setup.layout = job.parallel.layout;
  setup.at = parallel::coordinate_of(job.parallel.layout, rank);
  setup.length = job.train.sequence_length;
  setup.frozen = true;
  setup.draw_weights = false;
  model::assign_layers(setup);
  return setup;
}

}  // namespace

void InferenceModel::choose_checkpoint(const InferenceOptions& options) {
  const bool is_run = options.checkpoint.empty();
  checkpoint_ =
      resolve_start((is_run ? options.run_directory : options.checkpoint).string(), {}, *pool_);
}

void InferenceModel::read_description(const InferenceOptions& options) {
  const TrainingState state = read_training_state(checkpoint_);
  job_ = launch::parse_job(
      ConfigFile::parse(state.job_toml, (checkpoint_ / "manifest.json").string()));
  check_layout(job_, options.layout, groups_.world->size());
  job_.parallel.layout = options.layout;
  if (!job_.job.numerics.invariant) job_.job.numerics.virtual_shards = options.layout.tensor;
  job_.job.numerics.sample_groups = 1;
  job_.train.micro_batch = 1;
  const fs::path folder =
      options.tokenizer.empty() ? fs::path(job_.data.tokenizer) : options.tokenizer;
  tokenizer_ = storage::Tokenizer::load(folder);
  if (tokenizer_->vocab_size() > job_.model.vocab) {
    fail_usage(
        "{}: {} tokens, but the model of {} knows {}; name the tokenizer it was trained with",
        folder.string(), tokenizer_->vocab_size(), checkpoint_.string(), job_.model.vocab);
  }
  if (!state.tokenizer.empty() && state.tokenizer != tokenizer_->fingerprint()) {
    fail_usage(
        "{}: another tokenizer ({}) than {} was trained with ({}); bring that one back, or name "
        "its folder with --tokenizer",
        folder.string(), tokenizer_->fingerprint(), checkpoint_.string(), state.tokenizer);
  }
}

void InferenceModel::make_groups(parallel::Process* process) {
  const parallel::Layout& layout = job_.parallel.layout;
  if (process == nullptr) {
    groups_.tensor = parallel::make_single_communicator();
    groups_.pipeline = parallel::make_single_communicator();
    return;
  }
  const parallel::Coordinate at = parallel::coordinate_of(layout, process->rank());
  groups_.tensor = process->make_group(parallel::tensor_group(layout, at));
  parallel::GroupOptions pipeline;
  pipeline.max_message_bytes =
      std::max(model::Generator::max_message_bytes(job_.model), max_message_bytes(job_));
  groups_.pipeline = process->make_group(parallel::pipeline_group(layout, at), pipeline);
}

void InferenceModel::check_head(const storage::CheckpointReader& reader) const {
  const bool scalar = reader.find("param", "value_head.weight") != nullptr;
  if (scalar == (head_ == model::HeadKind::kScalar)) return;
  if (scalar) {
    fail_usage(
        "{}: a reward model (its head gives a number, no words); allowed: a language model's "
        "checkpoint",
        checkpoint_.string());
  }
  fail_usage(
      "{}: a language model (its head gives words, no reward); allowed: the checkpoint of a job of "
      "kind \"reward\"",
      checkpoint_.string());
}

void InferenceModel::read_weights() {
  const storage::CheckpointReader reader(checkpoint_);
  check_head(reader);
  model::Stream stream;
  stream.pool = pool_.get();
  stage_ = std::make_unique<model::GptStage>(make_setup(job_, groups_.world->rank(), head_),
                                             *groups_.tensor, stream);
  reader.read(storage::weights_group(reader), stage_->parameters().weight_boxes());
}

std::vector<float> InferenceModel::token_numbers(const model::Batch& batch, TokenNumber wanted) {
  model::PassObjective objective;
  objective.entropy = wanted == TokenNumber::kEntropy;
  forward_only(*stage_, *groups_.pipeline, batch, objective);
  const std::span<const float> own = wanted == TokenNumber::kNll       ? stage_->token_nll()
                                     : wanted == TokenNumber::kEntropy ? stage_->token_entropy()
                                                                       : stage_->token_values();
  std::vector<float> numbers(batch.inputs.size());
  if (stage_->setup().is_last()) std::copy(own.begin(), own.end(), numbers.begin());
  groups_.pipeline->broadcast(std::as_writable_bytes(std::span(numbers)),
                              groups_.pipeline->size() - 1);
  return numbers;
}

std::unique_ptr<InferenceModel> InferenceModel::open(parallel::Process* process,
                                                     const InferenceOptions& options,
                                                     int& exit_code) {
  std::unique_ptr<InferenceModel> model(new InferenceModel);
  model->head_ = options.head;
  const int cores = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  const int sharing = process == nullptr ? 1 : process->local_size();
  model->pool_ = std::make_unique<ThreadPool>(options.threads > 0 ? options.threads
                                                                  : std::max(1, cores / sharing));
  model->groups_.world =
      process == nullptr ? parallel::make_single_communicator() : process->make_world();
  parallel::Communicator& world = *model->groups_.world;
  exit_code = agree(world, [&] {
    if (model->leads()) model->choose_checkpoint(options);
  });
  if (exit_code != kExitDone) return nullptr;
  model->checkpoint_ = broadcast_string(world, model->checkpoint_.string(), 0);
  exit_code = agree(world, [&] { model->read_description(options); });
  if (exit_code != kExitDone) return nullptr;
  model->make_groups(process);
  exit_code = agree(world, [&] { model->read_weights(); });
  if (exit_code != kExitDone) return nullptr;
  return model;
}

model::Generator InferenceModel::make_generator(std::int64_t slots) {
  return {*stage_, *groups_.tensor, *groups_.pipeline, slots, job_.model.context};
}

}  // namespace talaria::worker
