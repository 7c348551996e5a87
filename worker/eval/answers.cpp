// SPDX-License-Identifier: Apache-2.0
#include "worker/eval/answers.h"

#include <algorithm>

#include "cluster/base/text.h"
#include "worker/eval/report.h"

namespace talaria::worker {

std::vector<Answer> answer_all(InferenceModel& model,
                               const std::vector<std::vector<std::int32_t>>& prompts,
                               const AnswerOptions& options) {
  std::vector<model::Prompt> all;
  all.reserve(prompts.size());
  for (const auto& ids : prompts) all.push_back({ids, all.size()});
  model::GenerationOptions generation;
  generation.sampler = options.sampler;
  generation.max_tokens = options.tokens;
  generation.stop_ids = options.stop_ids;
  generation.vocab = model.tokenizer().vocab_size();
  const auto count = static_cast<std::int64_t>(all.size());
  model::Generator generator =
      model.make_generator(std::clamp<std::int64_t>(count, 1, options.slots));
  std::vector<Answer> answers;
  // In parts, so that there is something to say meanwhile; the random numbers are the prompts'.
  const std::int64_t part = 8 * options.slots;
  for (std::int64_t first = 0; first < count; first += part) {
    const auto size = static_cast<std::size_t>(std::min(part, count - first));
    for (model::Continuation& each : generator.generate(
             std::span(all).subspan(static_cast<std::size_t>(first), size), generation)) {
      Answer answer;
      const std::size_t words = each.ids.size() - (each.stopped ? 1 : 0);
      answer.text = valid_utf8(model.tokenizer().decode(std::span(each.ids).first(words)));
      answer.stopped = each.stopped;
      answer.ids = std::move(each.ids);
      answers.push_back(std::move(answer));
    }
    if (model.leads()) show_progress("answers", first + static_cast<std::int64_t>(size), count);
  }
  return answers;
}

}  // namespace talaria::worker
