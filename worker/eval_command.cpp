// SPDX-License-Identifier: Apache-2.0
#include "worker/eval_command.h"

#include "cluster/base/error.h"
#include "worker/eval/match.h"
#include "worker/eval/perplexity.h"
#include "worker/eval/reward.h"
#include "worker/eval/win_rate.h"
#include "worker/model_options.h"

namespace talaria::worker {
namespace {

constexpr const char* kTemplateNames = "chatml, llama3, hh or plain; default: that of a chat job";

// What a task is run with, once its options are known.
using Task = std::function<int(parallel::Process*)>;

struct Chosen {
  const parallel::Layout* layout = nullptr;
  Task task;
};

void add_limit(CLI::App& app, std::int64_t& limit, const char* what) {
  app.add_option("--limit", limit, what)->check(CLI::Range(0, 1 << 30))->capture_default_str();
}

void add_json(CLI::App& app, bool& json) {
  app.add_flag("--json", json, "one line of JSON in the place of the table");
}

void add_max_bad(CLI::App& app, std::int64_t& max_bad) {
  app.add_option("--max-bad", max_bad, "bad lines that are skipped before it is an error")
      ->check(CLI::Range(0, 1 << 30))
      ->capture_default_str();
}

void add_answer(CLI::App& app, AnswerOptions& options) {
  app.add_option("--tokens", options.tokens, "most tokens of an answer")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--batch", options.slots, "prompts answered at once; changes no answer")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
}

void add_perplexity(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<PerplexityOptions>();
  CLI::App* task = app.add_subcommand(
      "perplexity",
      "nll per token, perplexity and bits per byte of text; without --data and --text "
      "of the validation part of the job's data");
  add_model_choice(*task, options->model);
  auto* data = task->add_option("--data", options->data, "a token file made by data prepare");
  task->add_option("--text", options->text, "a plain text file")->excludes(data);
  task->add_option("--stride", options->stride,
                   "tokens from one window to the next, each counted once; 0: windows do not "
                   "overlap")
      ->check(CLI::Range(0, 1 << 30))
      ->capture_default_str();
  add_limit(*task, options->limit, "windows that are read; 0: all");
  add_json(*task, options->json);
  add_ranks(*task, options->model);
  task->callback([options, &chosen] {
    check_model_choice("eval perplexity", options->model);
    chosen = {&options->model.layout,
              [options](parallel::Process* process) { return eval_perplexity(process, *options); }};
  });
}

void add_match(CLI::App& app, Chosen& chosen, bool in_context) {
  auto options = std::make_shared<MatchOptions>();
  options->in_context = in_context;
  options->answer.tokens = in_context ? 16 : 64;
  CLI::App* task =
      in_context
          ? app.add_subcommand("in-context",
                               "share of texts whose likeliest continuation is the expected one; "
                               "JSONL of \"context\" and \"completion\"")
          : app.add_subcommand("exact",
                               "share of prompts whose likeliest answer is the expected one; JSONL "
                               "of \"prompt\" and \"completion\" or \"answer\"");
  add_model_choice(*task, options->model);
  task->add_option("FILE", options->files, "JSONL files")->required()->type_name("");
  if (!in_context) {
    task->add_option("--template", options->chat_template,
                     "chatml, llama3, hh, plain, or none: the prompt is text and the answer the "
                     "rest of its line; default: that of a chat job, else none");
  }
  task->add_option("--shots", options->shots,
                   "lines at the head of each file that are given as examples")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  add_limit(*task, options->limit, "lines of each file behind them; 0: all");
  add_answer(*task, options->answer);
  task->add_option("--out", options->out,
                   "write a line of JSON an example: prompt, expected, answer, correct, stopped");
  add_json(*task, options->json);
  add_ranks(*task, options->model);
  task->callback([options, &chosen] {
    check_model_choice("eval", options->model);
    chosen = {&options->model.layout,
              [options](parallel::Process* process) { return eval_match(process, *options); }};
  });
}

void add_reward(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<RewardEvalOptions>();
  CLI::App* task = app.add_subcommand(
      "reward",
      "accuracy, loss and calibration of a reward model on comparisons; without FILE of "
      "the validation part of the job's data");
  add_model_choice(*task, options->model);
  task->add_option("FILE", options->files, "JSONL files of comparisons")->type_name("");
  task->add_option("--template", options->chat_template, kTemplateNames);
  add_max_bad(*task, options->max_bad_lines);
  add_limit(*task, options->limit, "comparisons that are read; 0: all");
  add_json(*task, options->json);
  add_ranks(*task, options->model);
  task->callback([options, &chosen] {
    check_model_choice("eval reward", options->model);
    chosen = {&options->model.layout,
              [options](parallel::Process* process) { return eval_reward(process, *options); }};
  });
}

void add_judges(CLI::App& task, WinRateOptions& options) {
  auto* judge = task.add_option("--judge", options.judge, "a reward model: a run or a checkpoint");
  auto* rule = task.add_option("--rule", options.rule.kind,
                               "exact, match or share, in the place of a reward model");
  rule->excludes(judge);
  task.add_option("--pattern", options.rule.pattern, "PCRE2, of match and share")->needs(rule);
  task.add_option("--of", options.rule.of, "PCRE2, of share")->needs(rule);
  task.add_option("--group", options.rule.group,
                  "of match: text or number; only where capture group 1 is the \"answer\"")
      ->needs(rule);
  task.add_flag_callback(
          "--once", [&options] { options.rule.count = false; }, "of match: 1 where there is any")
      ->needs(rule);
}

void add_win_rate(CLI::App& app, Chosen& chosen) {
  auto options = std::make_shared<WinRateOptions>();
  options->answer.sampler = {.temperature = 0.8, .top_k = 40};
  CLI::App* task = app.add_subcommand(
      "win-rate", "how often the answers of one model are better than those of another");
  task->add_option("--a", options->a, "a run or a checkpoint")->required();
  task->add_option("--b", options->b, "a run or a checkpoint")->required();
  add_judges(*task, *options);
  task->add_option("FILE", options->files, "JSONL files of prompts")->required()->type_name("");
  task->add_option("--template", options->chat_template, kTemplateNames);
  task->add_option("--tokenizer", options->shared.tokenizer,
                   "tokenizer folder of all; default: the job files'");
  add_max_bad(*task, options->max_bad_lines);
  add_limit(*task, options->limit, "prompts; 0: all");
  add_answer(*task, options->answer);
  add_sampler(*task, options->answer.sampler);
  task->add_option("--out", options->out, "write a line of JSON a prompt: answers and scores");
  add_json(*task, options->json);
  add_ranks(*task, options->shared);
  task->callback([options, &chosen] {
    if (options->judge.empty() && options->rule.kind.empty()) {
      fail_usage("eval win-rate: who judges? name a reward model with --judge, or a --rule");
    }
    chosen = {&options->shared.layout,
              [options](parallel::Process* process) { return eval_win_rate(process, *options); }};
  });
}

}  // namespace

int eval_command(int argc, char** argv, bool under_mpirun) {
  CLI::App app("Measures the models of checkpoints. Results go to stdout.", argv[0]);
  app.require_subcommand(1);
  Chosen chosen;
  add_perplexity(app, chosen);
  add_match(app, chosen, false);
  add_match(app, chosen, true);
  add_reward(app, chosen);
  add_win_rate(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  return on_ranks(under_mpirun, *chosen.layout, chosen.task);
}

}  // namespace talaria::worker
