// SPDX-License-Identifier: Apache-2.0
#include "worker/eval/reward.h"

#include <algorithm>
#include <cmath>

#include <boost/json.hpp>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "worker/chat_data.h"
#include "worker/comparison_rows.h"
#include "worker/eval/report.h"
#include "worker/exchange.h"
#include "worker/packed_units.h"

namespace talaria::worker {
namespace {

constexpr std::size_t kRowsAtOnce = 16;

struct Comparisons {
  std::vector<storage::Comparison> all;
  storage::ChatCounts counts;
  std::string name;
};

Comparisons read(const InferenceModel& model, const RewardEvalOptions& options) {
  const launch::Job& job = model.job();
  Comparisons read;
  storage::ChatOptions chat = chat_options(job, model.row_length(), model.leads());
  if (!options.chat_template.empty()) chat.chat_template = options.chat_template;
  std::vector<std::filesystem::path> files = options.files;
  if (files.empty()) {
    files.assign(job.data.files.begin(), job.data.files.end());
    read.name = "validation part of data.files";
  } else {
    chat.max_bad_lines = options.max_bad_lines;
    chat.bad_lines_option = "--max-bad";
    for (const auto& file : files) read.name += (read.name.empty() ? "" : ", ") + file.string();
  }
  read.all = storage::read_comparisons(files, model.tokenizer(), chat, read.counts);
  drop_long(read.all, job.model.context, read.counts);
  if (options.files.empty()) {
    read.all = split_units(std::move(read.all), job.data.validation).validation;
  }
  if (options.limit > 0 && static_cast<std::int64_t>(read.all.size()) > options.limit) {
    read.all.resize(static_cast<std::size_t>(options.limit));
  }
  if (read.all.empty()) {
    fail_usage(
        "{}: no comparison is left ({} too long for a row of {} tokens or the context of {})",
        one_line(read.name), read.counts.too_long, model.row_length(), job.model.context);
  }
  return read;
}

// The comparison's own view of its rewards, for the counter.
RowComparisons alone(const storage::Comparison& comparison) {
  RowComparisons row;
  row.places.emplace_back();
  for (std::size_t k = 0; k < comparison.answers.size(); ++k) {
    row.places[0].push_back({static_cast<std::int32_t>(k)});
  }
  row.ranks = {comparison.ranks};
  return row;
}

void print(const InferenceModel& model, const Comparisons& data, const PreferenceCounter& counter,
           bool json) {
  const std::map<std::string, double> metrics = counter.metrics();
  std::int64_t pairs = 0;
  std::vector<std::vector<std::string>> bins = {{"preferred by", "pairs", "accuracy (95 %)"}};
  boost::json::array bin_list;
  for (int b = 5; b < 10; ++b) {
    const std::string key = fmt::format("calibration/0.{}", b);
    const auto count = static_cast<std::int64_t>(metrics.at(key + "_pairs"));
    const auto found = metrics.find(key + "_accuracy");
    const double share = found == metrics.end() ? std::nan("") : found->second;
    pairs += count;
    bins.push_back({fmt::format("0.{} to {:.1f}", b, 0.1 * (b + 1)), std::to_string(count),
                    count == 0 ? "-" : share_text(share, count)});
    bin_list.push_back(boost::json::object{
        {"from", b / 10.0}, {"to", (b + 1) / 10.0}, {"pairs", count}, {"accuracy", finite(share)}});
  }
  if (json) {
    const Interval interval = wilson(counter.accuracy(), pairs);
    const boost::json::object all = {{"task", "reward"},
                                     {"checkpoint", model.checkpoint().string()},
                                     {"data", data.name},
                                     {"comparisons", data.all.size()},
                                     {"skipped", skipped_text(data.counts)},
                                     {"pairs", pairs},
                                     {"accuracy", finite(counter.accuracy())},
                                     {"interval", {interval.low, interval.high}},
                                     {"loss", finite(counter.loss())},
                                     {"margin", finite(metrics.at("margin"))},
                                     {"calibration_error", finite(metrics.at("calibration_error"))},
                                     {"calibration", std::move(bin_list)}};
    fmt::print("{}\n", boost::json::serialize(all));
    return;
  }
  std::string skipped = one_line(skipped_text(data.counts));
  if (skipped.empty()) skipped = "none";
  fmt::print(
      "{}\n{}",
      table_text({{"checkpoint", one_line(model.checkpoint().string())},
                  {"data", one_line(data.name)},
                  {"comparisons", fmt::format("{} ({} pairs)", data.all.size(), pairs)},
                  {"skipped", skipped},
                  {"accuracy (95 %)", share_text(counter.accuracy(), pairs)},
                  {"loss", fmt::format("{:.4f}", counter.loss())},
                  {"margin", fmt::format("{:.4f}", metrics.at("margin"))},
                  {"calibration error", fmt::format("{:.4f}", metrics.at("calibration_error"))}}),
      table_text(bins));
}

}  // namespace

void check_rewards(const storage::Comparison& comparison, const std::vector<double>& rewards) {
  for (std::size_t k = 0; k < rewards.size(); ++k) {
    if (std::isfinite(rewards[k])) continue;
    fail("{}: the reward of answer {} is {}; the judge is broken, take another checkpoint",
         comparison.place, k + 1, rewards[k]);
  }
}

std::vector<std::vector<double>> rewards_of(InferenceModel& judge,
                                            const std::vector<storage::Comparison>& comparisons) {
  const std::int64_t length = judge.row_length();
  const auto packed = storage::pack_epoch(storage::row_tokens(comparisons), length, true, 0, 0);
  std::vector<std::vector<double>> rewards(comparisons.size());
  for (std::size_t first = 0; first < packed.size(); first += kRowsAtOnce) {
    const std::size_t end = std::min(first + kRowsAtOnce, packed.size());
    model::Batch batch;
    std::vector<storage::ComparisonRow> rows;
    for (std::size_t i = first; i < end; ++i) {
      rows.push_back(storage::comparison_row(units_at<storage::Comparison>(packed[i], comparisons),
                                             length, judge.tokenizer().end_of_text()));
      append_row(rows.back().row, batch);
    }
    const std::vector<float> values = judge.token_numbers(batch, TokenNumber::kValue);
    for (std::size_t i = first; i < end; ++i) {
      const std::size_t row = (i - first) * static_cast<std::size_t>(length);
      for (std::size_t c = 0; c < packed[i].size(); ++c) {
        std::vector<double>& own = rewards[static_cast<std::size_t>(packed[i][c])];
        for (const storage::AnswerPlace& place : rows[i - first].places[c]) {
          own.push_back(static_cast<double>(values[row + static_cast<std::size_t>(place.last)]));
        }
      }
    }
    if (judge.leads()) {
      show_progress("rows", static_cast<std::int64_t>(end),
                    static_cast<std::int64_t>(packed.size()));
    }
  }
  for (std::size_t i = 0; i < comparisons.size(); ++i) check_rewards(comparisons[i], rewards[i]);
  return rewards;
}

int eval_reward(parallel::Process* process, const RewardEvalOptions& options) {
  InferenceOptions scalar = options.model;
  scalar.head = model::HeadKind::kScalar;
  int code = kExitDone;
  const std::unique_ptr<InferenceModel> model = InferenceModel::open(process, scalar, code);
  if (!model) return code;
  Comparisons data;
  code = agree(*model->groups().world, [&] { data = read(*model, options); });
  if (code != kExitDone) return code;
  return agree(*model->groups().world, [&] {
    const std::vector<std::vector<double>> rewards = rewards_of(*model, data.all);
    PreferenceCounter counter;
    for (std::size_t i = 0; i < rewards.size(); ++i) {
      const std::vector<float> values(rewards[i].begin(), rewards[i].end());
      counter.add(alone(data.all[i]), values);
    }
    if (!model->leads()) return;
    print(*model, data, counter, options.json);
  });
}

}  // namespace talaria::worker
