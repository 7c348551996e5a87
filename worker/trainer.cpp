// SPDX-License-Identifier: Apache-2.0
#include "worker/trainer.h"

#include <cmath>
#include <memory>
#include <optional>
#include <thread>

#include "cluster/base/clock.h"
#include "cluster/base/error.h"
#include "cluster/base/log.h"
#include "storage/checkpoint/crash_point.h"
#include "worker/checkpointing.h"
#include "worker/exchange.h"
#include "worker/hand_on.h"
#include "worker/memory_use.h"
#include "worker/peak.h"
#include "worker/preparation.h"
#include "worker/run_directory.h"
#include "worker/signals.h"
#include "worker/task.h"
#include "worker/watched_communicator.h"

namespace talaria::worker {
namespace {

namespace fs = std::filesystem;

constexpr int kNonfiniteLimit = 3;

class Trainer {
 public:
  Trainer(parallel::Process& process, const TrainOptions& options, Reporter& reporter)
      : process_(process),
        options_(options),
        reporter_(reporter),
        status_(reporter.status()),
        leads_(process.rank() == 0) {}

  int run();

 private:
  void build();
  parallel::GroupOptions group_options() const;
  Groups make_groups();
  void restore();
  int loop();
  void report(const StepReport& step, double seconds, const std::optional<Evaluation>& evaluation);
  // What the coordinator shall know of a step.
  void tell_status(const Metric& metric);
  std::optional<Evaluation> evaluate();
  void save(const std::optional<Evaluation>& evaluation);
  int stop_early();
  int stop_nonfinite(const StepReport& step);
  void event(const std::string& kind, const std::string& text) {
    if (leads_) start_.directory->record_event(start_.attempt, process_.rank(), kind, text);
  }

  parallel::Process& process_;
  const TrainOptions& options_;
  Reporter& reporter_;
  wire::RankStatus& status_;
  bool leads_;
  Groups groups_;
  Preparation start_;
  const launch::Job& job_ = start_.job;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<Task> task_;
  std::unique_ptr<Progress> progress_;
  TrainingState state_;
  double peak_ = 0.0;  // FLOP/s of the whole job's machines
  std::int64_t saved_step_ = 0;
  std::int64_t steps_made_ = 0;  // by this process
  std::optional<double> last_validation_;
  std::map<std::string, double> last_metrics_;  // of the last step that was evaluated
};

parallel::GroupOptions Trainer::group_options() const {
  parallel::GroupOptions options;
  if (!options_.attempt_id.empty()) options.shm_prefix += "-" + options_.attempt_id;
  return options;
}

Groups Trainer::make_groups() {
  const parallel::Layout& layout = job_.parallel.layout;
  const parallel::Coordinate at = parallel::coordinate_of(layout, process_.rank());
  const auto make = [this](std::span<const int> ranks, const parallel::GroupOptions& options) {
    return watched(process_.make_group(ranks, options), status_);
  };
  Groups groups;
  groups.world = std::move(groups_.world);
  groups.tensor = make(parallel::tensor_group(layout, at), group_options());
  groups.data = make(parallel::data_group(layout, at), group_options());
  parallel::GroupOptions pipeline = group_options();
  pipeline.max_message_bytes = max_message_bytes(job_);
  groups.pipeline = make(parallel::pipeline_group(layout, at), pipeline);
  return groups;
}

void Trainer::build() {
  pool_ = std::make_unique<ThreadPool>(job_.cluster.threads_per_rank);
  // Alone on its node while the others wait, the first rank measures what the cores can do.
  double peak = 0.0;
  if (process_.local_rank() == 0) {
    peak = measure_matrix_peak(static_cast<int>(std::thread::hardware_concurrency()), false);
  }
  std::vector<double> peaks(1, peak);
  groups_.world->all_reduce_sum(std::span(peaks));
  peak_ = peaks[0];
  groups_ = make_groups();
  state_.data_fingerprint = task_->data_fingerprint();
  state_.tokenizer = task_->tokenizer();
  state_.job_toml = job_.effective_toml;
  const bool resumes = !start_.restored_from.empty();
  if (resumes) state_.origins = read_training_state(start_.restored_from).origins;
  task_->build({process_.rank(), groups_, *pool_, reporter_, start_.run_path, state_.tokenizer,
                resumes, state_.origins, job_.start});
}

void Trainer::restore() {
  const auto begins = [this](const std::string& from) {
    event("start",
          fmt::format("attempt {}: {} ranks, from {}", start_.attempt, process_.size(), from));
  };
  if (start_.restored_from.empty()) {
    task_->begin();
    return begins("the beginning");
  }
  reporter_.enter(wire::Phase::kRestore);
  const TrainingState saved = read_training_state(start_.restored_from);
  load_checkpoint(*task_, start_.restored_from, saved);
  task_->set_state(saved.task);
  task_->begin();
  state_.step = saved.step;
  state_.updates = saved.updates;
  state_.nonfinite_in_a_row = saved.nonfinite_in_a_row;
  state_.best_step = saved.best_step;
  state_.best_loss = saved.best_loss;
  saved_step_ = saved.step;
  status_.step = saved.step;
  status_.checkpoint_step = saved.step;
  begins(start_.restored_from.string());
  if (leads_) log_info("continuing from {}", start_.restored_from.string());
}

std::optional<Evaluation> Trainer::evaluate() {
  reporter_.enter(wire::Phase::kEvaluate);
  return task_->evaluate();
}

void Trainer::save(const std::optional<Evaluation>& evaluation) {
  reporter_.enter(wire::Phase::kSave);
  agree_or_throw(*groups_.world, [this] { task_->check_unchanged(); });
  state_.updates = task_->models().front().engine->optimizer().updates();
  state_.task = task_->state();
  const bool best = job_.checkpoint.select == "best" && evaluation &&
                    std::isfinite(evaluation->judged()) &&
                    (state_.best_step < 0 || evaluation->judged() < state_.best_loss);
  if (best) {
    state_.best_step = state_.step;
    state_.best_loss = evaluation->judged();
  }
  const fs::path path = save_checkpoint(*task_, *groups_.world, job_, state_,
                                        start_.run_path / "checkpoints", start_.attempt, *pool_);
  saved_step_ = state_.step;
  status_.checkpoint_step = saved_step_;
  event("checkpoint", path.string());
}

void Trainer::report(const StepReport& step, double seconds,
                     const std::optional<Evaluation>& evaluation) {
  Metric metric;
  metric.step = state_.step;
  metric.attempt = start_.attempt;
  metric.tokens = state_.step * task_->step_tokens();
  metric.loss = step.loss;
  metric.grad_norm = step.grad_norm;
  metric.learning_rate = step.learning_rate;
  metric.step_seconds = seconds;
  metric.tokens_per_second = static_cast<double>(task_->step_tokens()) / seconds;
  metric.mfu = task_->step_flops() / seconds / peak_;
  metric.more = step.metrics;
  if (evaluation) {
    metric.validation_loss = evaluation->loss;
    metric.more.insert(evaluation->metrics.begin(), evaluation->metrics.end());
  }
  tell_status(metric);
  if (!leads_) return;
  metric.rss_bytes = resident_bytes();
  start_.directory->record(metric);
  if (evaluation) last_validation_ = evaluation->loss;
  progress_->show({state_.step, job_.train.steps, step.loss, metric.tokens_per_second, metric.mfu,
                   last_validation_, saved_step_});
}

void Trainer::tell_status(const Metric& metric) {
  status_.loss = metric.loss;
  status_.tokens_per_second = metric.tokens_per_second;
  status_.mfu = metric.mfu;
  if (metric.validation_loss) status_.validation_loss = *metric.validation_loss;
  status_.step = metric.step;
  // A restart is over with its first step: that is worth a word at once.
  if (++steps_made_ == 1) reporter_.tell();
}

int Trainer::stop_early() {
  if (saved_step_ != state_.step) save(std::nullopt);
  groups_.world->barrier();
  if (leads_) {
    progress_->finish();
    event("signal", fmt::format("stopped after step {} with a checkpoint", state_.step));
    log_info("stopped after step {} of {} with a checkpoint; run it again to continue", state_.step,
             job_.train.steps);
  }
  return kExitStoppedEarly;
}

int Trainer::stop_nonfinite(const StepReport& step) {
  const std::string text = fmt::format(
      "step {}: loss or gradient norm was not finite {} steps in a row, first seen on rank {}; "
      "updates with such numbers were left out. Lower optimizer.learning_rate or look at the data, "
      "then continue from "
      "the last checkpoint",
      state_.step, kNonfiniteLimit, step.nonfinite_rank);
  event("failure", text);
  if (leads_) {
    progress_->finish();
    log_line(text);
  }
  return kExitFailed;
}

int Trainer::loop() {
  progress_ =
      std::make_unique<Progress>(leads_ ? options_.progress : ProgressStyle::kNone, state_.step);
  const auto due = [this](std::int64_t every) {
    return state_.step == job_.train.steps || (every > 0 && state_.step % every == 0);
  };
  while (state_.step < job_.train.steps) {
    reporter_.enter(wire::Phase::kStep);
    storage::crash_point("step.begin");
    const double start = monotonic_seconds();
    const StepReport step =
        task_->step(state_.step, stop_signal() != 0 || reporter_.stop_requested());
    const double seconds = monotonic_seconds() - start;
    ++state_.step;
    state_.nonfinite_in_a_row = step.applied ? 0 : state_.nonfinite_in_a_row + 1;
    if (!step.applied && leads_) {
      progress_->note(
          fmt::format("step {}: update skipped, not finite on rank {} (loss {}, norm {})",
                      state_.step, step.nonfinite_rank, step.loss, step.grad_norm));
    }
    const bool last = state_.step == job_.train.steps;
    if (last) task_->finish();
    // A step that was skipped is no place to come back to.
    const bool saves = last || (step.applied && due(job_.checkpoint.every));
    const bool evaluates =
        due(job_.train.eval_every) || (saves && job_.checkpoint.select == "best");
    const std::optional<Evaluation> evaluation = evaluates ? evaluate() : std::nullopt;
    report(step, seconds, evaluation);
    storage::crash_point("step.end");
    if (state_.nonfinite_in_a_row >= kNonfiniteLimit) return stop_nonfinite(step);
    if (saves) save(evaluation);
    if (step.stop && !last) return stop_early();
  }
  if (leads_) {
    progress_->finish();
    hand_on(*start_.directory, job_, state_);
  }
  event("done", fmt::format("{} steps", state_.step));
  return kExitDone;
}

int Trainer::run() {
  reporter_.enter(wire::Phase::kSetup);
  groups_.world = watched(process_.make_world(group_options()), status_);
  const int prepared = prepare(*groups_.world, options_, reporter_, start_);
  if (prepared != kExitDone) return prepared;
  status_.steps = job_.train.steps;
  if (start_.complete) {
    status_.step = job_.train.steps;
    if (leads_) {
      // A kill may have come between the last checkpoint and this.
      const TrainingState& state = start_.found->state;
      if (!has_handed_on(*start_.directory, job_, state)) hand_on(*start_.directory, job_, state);
      log_info("{}: complete, {} steps are done; a larger train.steps continues it",
               start_.run_path.string(), job_.train.steps);
    }
    return kExitDone;
  }
  const int opened = agree(*groups_.world, [this] {
    task_ = make_task(job_, leads_);
    if (!start_.found) return;
    check_same_data(options_, start_.run_path, start_.found->state.data_fingerprint,
                    task_->data_fingerprint());
  });
  if (opened != kExitDone) return opened;
  if (leads_) log_info("backend {}", options_.backend);
  try {
    build();
    restore();
    return loop();
  } catch (const AgreedFailure& failure) {
    return failure.exit_code;
  }
}

}  // namespace

int train(parallel::Process& process, const TrainOptions& options, Reporter& reporter) {
  const int code = Trainer(process, options, reporter).run();
  reporter.enter(wire::Phase::kFinish);
  return code;
}

}  // namespace talaria::worker
