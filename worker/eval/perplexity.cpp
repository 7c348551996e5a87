// SPDX-License-Identifier: Apache-2.0
#include "worker/eval/perplexity.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>

#include <boost/json.hpp>

#include "cluster/base/error.h"
#include "cluster/base/file.h"
#include "cluster/base/text.h"
#include "storage/text/token_file.h"
#include "worker/eval/report.h"
#include "worker/exchange.h"
#include "worker/hugging_face.h"
#include "worker/samples.h"

namespace talaria::worker {
namespace {

// Rows of a forward pass that are held at once.
constexpr std::int64_t kRowsAtOnce = 16;

// Where the ids come from: window w as its ids (one more than targets) and the first counted one.
struct Source {
  std::string name;
  std::string windows_text;  // how they lie
  std::int64_t windows = 0;
  std::function<std::int64_t(std::int64_t window, std::vector<std::int32_t>& ids)> read;
};

struct Totals {
  double nll = 0.0;
  std::int64_t tokens = 0;
  std::int64_t bytes = 0;
};

Source validation_source(const InferenceModel& model, const PerplexityOptions& options) {
  const launch::Job& job = model.job();
  if (job.data.sources.empty()) {
    fail_usage(
        "{}: its job has no data.sources, so no validation part; name text with --data or --text",
        model.checkpoint().string());
  }
  if (is_imported(job)) {
    fail_usage(
        "{}: imported, so it has no validation data of its own; name text with --data or --text",
        one_line(model.checkpoint().string()));
  }
  if (options.stride > 0) {
    fail_usage("--stride: the windows of the validation part are fixed; give --data or --text too");
  }
  const auto data = std::make_shared<storage::Dataset>(open_dataset(job));
  if (data->validation_samples() == 0) {
    fail_usage(
        "data.validation: it keeps no whole window of {} tokens; name text with --data or "
        "--text",
        job.train.sequence_length);
  }
  return {"validation part of data.sources", "do not overlap", data->validation_samples(),
          [data, length = job.train.sequence_length](std::int64_t window, auto& ids) {
            ids.resize(static_cast<std::size_t>(length) + 1);
            data->validation_sample(window, ids);
            return std::int64_t{0};
          }};
}

// A stream of ids behind end of text, of which `read` gives a part.
Source stream_source(const InferenceModel& model, const PerplexityOptions& options,
                     std::string name, std::int64_t targets,
                     std::function<void(std::int64_t first, std::span<std::int32_t> ids)> read) {
  const std::int64_t length = std::min(model.row_length(), model.job().model.context);
  const std::int64_t stride = options.stride > 0 ? options.stride : length;
  if (stride > length) {
    fail_usage("--stride {}: allowed are 1 to {}, the tokens of a window", stride, length);
  }
  auto windows =
      std::make_shared<std::vector<StreamWindow>>(stream_windows(targets, length, stride));
  const std::int32_t end = model.tokenizer().end_of_text();
  Source source;
  source.name = std::move(name);
  source.windows_text = stride == length ? "do not overlap" : fmt::format("stride {}", stride);
  source.windows = static_cast<std::int64_t>(windows->size());
  source.read = [windows, end, read = std::move(read)](std::int64_t index, auto& ids) {
    const StreamWindow& window = (*windows)[static_cast<std::size_t>(index)];
    ids.assign(static_cast<std::size_t>(window.length) + 1, end);
    // Id 0 of the stream is the end of text before it.
    const bool begins = window.first == 0;
    read(begins ? 0 : window.first - 1, std::span(ids).subspan(begins ? 1 : 0));
    return window.counted;
  };
  return source;
}

Source file_source(const InferenceModel& model, const PerplexityOptions& options) {
  const auto file = std::make_shared<storage::TokenFile>(options.data);
  if (file->tokenizer() != model.tokenizer().fingerprint()) {
    fail_usage("{}: made with the tokenizer {}, the model's is {}; prepare the text with that one",
               options.data.string(), file->tokenizer(), model.tokenizer().fingerprint());
  }
  if (file->token_count() == 0) fail_usage("{}: no tokens", options.data.string());
  return stream_source(
      model, options, options.data.string(), file->token_count(),
      [file](std::int64_t first, std::span<std::int32_t> ids) { file->read(first, ids); });
}

Source text_source(const InferenceModel& model, const PerplexityOptions& options) {
  if (!std::filesystem::is_regular_file(options.text)) {
    fail_usage("--text {}: no such file", in_quotes(options.text.string()));
  }
  auto ids = std::make_shared<std::vector<std::int32_t>>(
      model.tokenizer().encode(read_file(options.text)));
  if (ids->empty()) fail_usage("{}: no text", options.text.string());
  return stream_source(model, options, options.text.string(),
                       static_cast<std::int64_t>(ids->size()),
                       [ids](std::int64_t first, std::span<std::int32_t> part) {
                         std::copy_n(ids->begin() + first, part.size(), part.begin());
                       });
}

// A row of T tokens from at most T + 1 ids; what is left free are segments of their own.
void append_ids(std::span<const std::int32_t> ids, std::int64_t length, model::Batch& batch) {
  batch.length = length;
  const auto used = static_cast<std::int64_t>(ids.size()) - 1;
  for (std::int64_t t = 0; t < length; ++t) {
    const bool real = t < used;
    batch.inputs.push_back(real ? ids[static_cast<std::size_t>(t)] : ids[0]);
    batch.targets.push_back(real ? ids[static_cast<std::size_t>(t) + 1] : ids[0]);
    batch.weights.push_back(real ? 1.0F : 0.0F);
    batch.starts.push_back(real ? 0 : static_cast<std::int32_t>(t));
  }
}

Totals sum_up(InferenceModel& model, const Source& source, std::int64_t windows) {
  const std::vector<std::int32_t> bytes = model.tokenizer().token_lengths();
  const std::int64_t length = model.row_length();
  Totals totals;
  for (std::int64_t first = 0; first < windows; first += kRowsAtOnce) {
    const std::int64_t rows = std::min(kRowsAtOnce, windows - first);
    model::Batch batch;
    std::vector<std::pair<std::int64_t, std::int64_t>> counted;  // [from, to) of each row
    for (std::int64_t i = 0; i < rows; ++i) {
      std::vector<std::int32_t> ids;
      const std::int64_t from = source.read(first + i, ids);
      append_ids(ids, length, batch);
      counted.emplace_back(from, static_cast<std::int64_t>(ids.size()) - 1);
    }
    const std::vector<float> nll = model.token_numbers(batch, TokenNumber::kNll);
    for (std::int64_t i = 0; i < rows; ++i) {
      double row = 0.0;
      for (std::int64_t t = counted[static_cast<std::size_t>(i)].first;
           t < counted[static_cast<std::size_t>(i)].second; ++t) {
        const auto at = static_cast<std::size_t>(i * length + t);
        row += static_cast<double>(nll[at]);
        ++totals.tokens;
        totals.bytes += bytes[static_cast<std::size_t>(batch.targets[at])];
      }
      totals.nll += row;
    }
    if (model.leads()) show_progress("windows", first + rows, windows);
  }
  return totals;
}

void print(const InferenceModel& model, const Source& source, std::int64_t windows,
           const Totals& totals, bool json) {
  const double nll = totals.nll / static_cast<double>(totals.tokens);
  const double bits = totals.bytes == 0
                          ? std::numeric_limits<double>::quiet_NaN()
                          : totals.nll / std::log(2.0) / static_cast<double>(totals.bytes);
  if (json) {
    const boost::json::object all = {{"task", "perplexity"},
                                     {"checkpoint", model.checkpoint().string()},
                                     {"data", source.name},
                                     {"windows", windows},
                                     {"windows_lie", source.windows_text},
                                     {"tokens", totals.tokens},
                                     {"bytes", totals.bytes},
                                     {"nll", finite(nll)},
                                     {"perplexity", finite(std::exp(nll))},
                                     {"bits_per_byte", finite(bits)}};
    fmt::print("{}\n", boost::json::serialize(all));
    return;
  }
  const std::int64_t length = std::min(model.row_length(), model.job().model.context);
  fmt::print("{}",
             table_text({{"checkpoint", one_line(model.checkpoint().string())},
                         {"data", one_line(source.name)},
                         {"windows",
                          fmt::format("{} of {} tokens, {}", windows, length, source.windows_text)},
                         {"tokens", fmt::format("{} ({} bytes)", totals.tokens, totals.bytes)},
                         {"nll per token", fmt::format("{:.4f}", nll)},
                         {"perplexity", fmt::format("{:.4f}", std::exp(nll))},
                         {"bits per byte", fmt::format("{:.4f}", bits)}}));
}

}  // namespace

std::vector<StreamWindow> stream_windows(std::int64_t targets, std::int64_t length,
                                         std::int64_t stride) {
  std::vector<StreamWindow> windows;
  std::int64_t counted = 0;  // targets so far
  for (std::int64_t first = 0; counted < targets; first += stride) {
    const std::int64_t here = std::min(length, targets - first);
    windows.push_back({first, here, counted - first});
    counted = first + here;
  }
  return windows;
}

int eval_perplexity(parallel::Process* process, const PerplexityOptions& options) {
  int code = kExitDone;
  const std::unique_ptr<InferenceModel> model = InferenceModel::open(process, options.model, code);
  if (!model) return code;
  Source source;
  std::int64_t windows = 0;
  Totals totals;
  code = agree(*model->groups().world, [&] {
    source = !options.data.empty()   ? file_source(*model, options)
             : !options.text.empty() ? text_source(*model, options)
                                     : validation_source(*model, options);
    windows = options.limit > 0 ? std::min(options.limit, source.windows) : source.windows;
  });
  if (code != kExitDone) return code;
  totals = sum_up(*model, source, windows);
  if (model->leads()) print(*model, source, windows, totals, options.json);
  return kExitDone;
}

}  // namespace talaria::worker
