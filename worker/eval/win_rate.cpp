// SPDX-License-Identifier: Apache-2.0
#include "worker/eval/win_rate.h"

#include <algorithm>
#include <memory>
#include <optional>

#include <boost/json.hpp>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/text.h"
#include "storage/chat/chat_file.h"
#include "worker/chat_data.h"
#include "worker/eval/report.h"
#include "worker/eval/reward.h"
#include "worker/exchange.h"

namespace talaria::worker {
namespace {

struct Player {
  std::string name;  // its option
  std::unique_ptr<InferenceModel> model;
  std::vector<Answer> answers;
  std::vector<double> scores;
};

class WinRate {
 public:
  explicit WinRate(const WinRateOptions& options) : options_(options) {}

  int run(parallel::Process* process);

 private:
  int open(parallel::Process* process, Player& player, const std::filesystem::path& path,
           model::HeadKind head) const;
  std::vector<Player*> players();
  void check_tokenizers();
  void choose_template();
  void read();
  void score(Player& player);
  void write_out() const;
  void print() const;
  std::string judge_name() const;
  double stopped_share(const Player& player) const;

  const WinRateOptions& options_;
  Player a_ = {"--a", {}, {}, {}};
  Player b_ = {"--b", {}, {}, {}};
  Player judge_ = {"--judge", {}, {}, {}};
  std::optional<RuleReward> rule_;
  std::string chat_;
  std::vector<storage::PromptLine> prompts_;
  storage::ChatCounts counts_;
};

int WinRate::open(parallel::Process* process, Player& player, const std::filesystem::path& path,
                  model::HeadKind head) const {
  InferenceOptions options = options_.shared;
  options.checkpoint = path;
  options.head = head;
  int code = kExitDone;
  player.model = InferenceModel::open(process, options, code);
  return code;
}

// Whoever has a model.
std::vector<Player*> WinRate::players() {
  std::vector<Player*> all = {&a_, &b_};
  if (judge_.model) all.push_back(&judge_);
  return all;
}

void WinRate::check_tokenizers() {
  for (const Player* other : players()) {
    const std::string& fingerprint = other->model->tokenizer().fingerprint();
    if (fingerprint == a_.model->tokenizer().fingerprint()) continue;
    fail_usage("{} {}: its tokenizer is {}, that of --a is {}; allowed: models of one tokenizer",
               other->name, other->model->checkpoint().string(), fingerprint,
               a_.model->tokenizer().fingerprint());
  }
}

void WinRate::choose_template() {
  chat_ = options_.chat_template;
  const Player* from = nullptr;
  for (const Player* each : players()) {
    const launch::Job& job = each->model->job();
    if (!options_.chat_template.empty() || job.job.kind == "pretrain") continue;
    if (from != nullptr && job.data.chat != chat_) {
      fail_usage("{} was made with the template {}, {} with {}; name one with --template",
                 from->name, chat_, each->name, job.data.chat);
    }
    chat_ = job.data.chat;
    from = each;
  }
  if (chat_.empty()) {
    fail_usage(
        "--template: no job of these models names one; allowed: chatml, llama3, hh or plain");
  }
  storage::check_template(chat_);
}

void WinRate::read() {
  check_tokenizers();
  choose_template();
  // Prompt and answer have to fit everybody.
  std::int64_t room = a_.model->job().model.context;
  for (const Player* each : players()) room = std::min(room, each->model->job().model.context);
  if (judge_.model) room = std::min(room, judge_.model->row_length());
  storage::ChatOptions chat;
  chat.chat_template = chat_;
  chat.max_tokens = room - options_.answer.tokens;
  chat.max_bad_lines = options_.max_bad_lines;
  chat.bad_lines_option = "--max-bad";
  chat.quiet = !a_.model->leads();
  if (chat.max_tokens < 1) {
    fail_usage("--tokens {}: prompt and answer have to fit {} tokens; give fewer",
               options_.answer.tokens, room);
  }
  try {
    prompts_ = storage::read_prompts(options_.files, a_.model->tokenizer(), chat, counts_);
  } catch (const UsageError& error) {
    if (counts_.too_long == 0) throw;
    fail_usage("{}; prompt and answer (--tokens {}) have to fit {} tokens", error.what(),
               options_.answer.tokens, room);
  }
  if (options_.limit > 0 && static_cast<std::int64_t>(prompts_.size()) > options_.limit) {
    prompts_.resize(static_cast<std::size_t>(options_.limit));
  }
  if (!rule_) return;
  for (const storage::PromptLine& prompt : prompts_) rule_->check(prompt.answer, prompt.place);
}

void WinRate::score(Player& player) {
  if (rule_) {
    for (std::size_t i = 0; i < prompts_.size(); ++i) {
      player.scores.push_back(
          rule_->score(storage::answer_content(chat_, player.answers[i].text), prompts_[i].answer));
    }
    return;
  }
  std::vector<storage::Comparison> answers;
  for (std::size_t i = 0; i < prompts_.size(); ++i) {
    answers.push_back(
        {prompts_[i].ids, {player.answers[i].ids}, {0}, prompts_[i].hash, prompts_[i].place});
  }
  for (const std::vector<double>& each : rewards_of(*judge_.model, answers)) {
    player.scores.push_back(each[0]);
  }
}

std::string WinRate::judge_name() const {
  return judge_.model ? judge_.model->checkpoint().string()
                      : fmt::format("rule {}", options_.rule.kind);
}

double WinRate::stopped_share(const Player& player) const {
  const auto stopped = std::count_if(player.answers.begin(), player.answers.end(),
                                     [](const Answer& each) { return each.stopped; });
  return static_cast<double>(stopped) / static_cast<double>(player.answers.size());
}

void WinRate::write_out() const {
  if (options_.out.empty()) return;
  std::string lines;
  for (std::size_t i = 0; i < prompts_.size(); ++i) {
    const double difference = a_.scores[i] - b_.scores[i];
    lines += boost::json::serialize(
                 boost::json::object{{"prompt", prompts_[i].text},
                                     {"expected", prompts_[i].answer},
                                     {"a", storage::answer_content(chat_, a_.answers[i].text)},
                                     {"b", storage::answer_content(chat_, b_.answers[i].text)},
                                     {"score_a", a_.scores[i]},
                                     {"score_b", b_.scores[i]},
                                     {"winner", difference > 0.0   ? "a"
                                                : difference < 0.0 ? "b"
                                                                   : "tie"}}) +
             "\n";
  }
  write_file_atomic(options_.out, lines);
}

void WinRate::print() const {
  const Duel duel = compare_scores(a_.scores, b_.scores);
  const Interval interval = wilson(duel.win_rate(), duel.count());
  if (options_.json) {
    const boost::json::object all = {{"task", "win-rate"},
                                     {"a", a_.model->checkpoint().string()},
                                     {"b", b_.model->checkpoint().string()},
                                     {"judge", judge_name()},
                                     {"template", chat_},
                                     {"prompts", duel.count()},
                                     {"skipped", skipped_text(counts_)},
                                     {"wins", duel.wins},
                                     {"losses", duel.losses},
                                     {"ties", duel.ties},
                                     {"win_rate", duel.win_rate()},
                                     {"interval", {interval.low, interval.high}},
                                     {"mean_a", duel.mean_a},
                                     {"mean_b", duel.mean_b},
                                     {"stopped_a", stopped_share(a_)},
                                     {"stopped_b", stopped_share(b_)}};
    fmt::print("{}\n", boost::json::serialize(all));
    return;
  }
  const std::string skipped = skipped_text(counts_);
  const model::SamplerOptions& sampler = options_.answer.sampler;
  fmt::print(
      "{}", table_text({{"a", one_line(a_.model->checkpoint().string())},
                        {"b", one_line(b_.model->checkpoint().string())},
                        {"judge", one_line(judge_name())},
                        {"template", chat_},
                        {"sampling", fmt::format("temperature {}, top-k {}, top-p {}, seed {}",
                                                 sampler.temperature, sampler.top_k, sampler.top_p,
                                                 sampler.seed)},
                        {"prompts", std::to_string(duel.count())},
                        {"skipped", skipped.empty() ? "none" : one_line(skipped)},
                        {"a wins", std::to_string(duel.wins)},
                        {"b wins", std::to_string(duel.losses)},
                        {"ties", std::to_string(duel.ties)},
                        {"win rate of a (95 %)", share_text(duel.win_rate(), duel.count())},
                        {"mean score", fmt::format("a {:.4f}, b {:.4f}", duel.mean_a, duel.mean_b)},
                        {"ended by themselves",
                         fmt::format("a {:.1f} %, b {:.1f} %", 100.0 * stopped_share(a_),
                                     100.0 * stopped_share(b_))}}));
}

int WinRate::run(parallel::Process* process) {
  if (options_.judge.empty()) rule_.emplace(options_.rule, "--rule");
  int code = open(process, a_, options_.a, model::HeadKind::kLanguageModel);
  if (code == kExitDone) code = open(process, b_, options_.b, model::HeadKind::kLanguageModel);
  if (code == kExitDone && !rule_) {
    code = open(process, judge_, options_.judge, model::HeadKind::kScalar);
  }
  if (code != kExitDone) return code;
  parallel::Communicator& world = *a_.model->groups().world;
  code = agree(world, [&] { read(); });
  if (code != kExitDone) return code;
  AnswerOptions answer = options_.answer;
  answer.stop_ids = {storage::end_of_turn(a_.model->tokenizer(), chat_),
                     a_.model->tokenizer().end_of_text()};
  std::vector<std::vector<std::int32_t>> ids;
  for (const storage::PromptLine& prompt : prompts_) ids.push_back(prompt.ids);
  a_.answers = answer_all(*a_.model, ids, answer);
  b_.answers = answer_all(*b_.model, ids, answer);
  return agree(world, [&] {
    score(a_);
    score(b_);
    if (!a_.model->leads()) return;
    write_out();
    print();
  });
}

}  // namespace

double Duel::win_rate() const {
  return (static_cast<double>(wins) + 0.5 * static_cast<double>(ties)) /
         static_cast<double>(count());
}

Duel compare_scores(const std::vector<double>& a, const std::vector<double>& b) {
  Duel duel;
  for (std::size_t i = 0; i < a.size(); ++i) {
    duel.wins += a[i] > b[i] ? 1 : 0;
    duel.losses += a[i] < b[i] ? 1 : 0;
    duel.ties += a[i] == b[i] ? 1 : 0;
    duel.mean_a += a[i];
    duel.mean_b += b[i];
  }
  duel.mean_a /= static_cast<double>(a.size());
  duel.mean_b /= static_cast<double>(b.size());
  return duel;
}

int eval_win_rate(parallel::Process* process, const WinRateOptions& options) {
  return WinRate(options).run(process);
}

}  // namespace talaria::worker
