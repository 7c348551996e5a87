// SPDX-License-Identifier: Apache-2.0
// Samples as a pure function of (seed, index): mixture, permutation, split, windows.
#include "storage/text/dataset.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/text/permutation.h"
#include "tests/support/text_fixtures.h"

namespace talaria::storage {
namespace {

using test::message_of;
using test::TempFolder;
using testing::HasSubstr;

constexpr std::int32_t kVocab = 1000;
constexpr std::int32_t kEnd = kVocab - 1;
constexpr const char* kTokenizer = "00112233445566778899aabbccddeeff";

struct Document {
  std::string text;
  std::vector<std::int32_t> ids;
};

std::vector<Document> documents_of(std::uint64_t seed, int count) {
  std::mt19937_64 random(seed);
  std::vector<Document> documents(static_cast<std::size_t>(count));
  for (auto& [text, ids] : documents) {
    text = test::random_bytes(random, 20);
    ids.resize(1 + random() % 60);
    for (auto& id : ids) id = static_cast<std::int32_t>(random() % kEnd);
  }
  return documents;
}

std::string write_source(const std::filesystem::path& path, const std::vector<Document>& documents,
                         const std::string& tokenizer = kTokenizer) {
  TokenFileWriter writer(path, kVocab, kEnd, tokenizer);
  for (const auto& [text, ids] : documents) writer.add(text, ids);
  writer.commit();
  return path.string();
}

class DatasetTest : public testing::Test {
 protected:
  DatasetTest() {
    const std::vector<int> sizes = {200, 90, 400};
    const std::vector<double> weights = {0.5, 0.3, 0.2};
    for (std::size_t i = 0; i < 3; ++i) {
      const std::string path =
          write_source(folder_ / (std::to_string(i) + ".tok"), documents_of(i + 1, sizes[i]));
      config_.sources.push_back({path, weights[i]});
    }
    config_.validation = 0.2;
    config_.seed = 11;
    config_.sequence_length = 16;
    config_.vocab = kVocab;
  }
  std::vector<std::int32_t> sample(const Dataset& data, std::int64_t index, bool training = true) {
    std::vector<std::int32_t> tokens(static_cast<std::size_t>(config_.sequence_length) + 1);
    if (training) {
      data.training_sample(index, tokens);
    } else {
      data.validation_sample(index, tokens);
    }
    return tokens;
  }
  // The ids of one split of a source, in order, from the documents themselves.
  std::vector<std::int32_t> stream(std::size_t source, bool held_out) {
    const std::vector<int> sizes = {200, 90, 400};
    std::vector<std::int32_t> ids;
    for (const Document& document : documents_of(source + 1, sizes[source])) {
      const double place = static_cast<double>(content_hash(document.text)) * 0x1p-64;
      if ((place < config_.validation) != held_out) continue;
      ids.insert(ids.end(), document.ids.begin(), document.ids.end());
      ids.push_back(kEnd);
    }
    return ids;
  }

  TempFolder folder_;
  DatasetConfig config_;
};

TEST(Permutation, IsABijectionForEverySize) {
  for (std::int64_t n = 1; n < 300; ++n) {
    const Permutation order(n, static_cast<std::uint64_t>(n) * 77);
    std::set<std::int64_t> images;
    for (std::int64_t i = 0; i < n; ++i) images.insert(order(i));
    ASSERT_EQ(static_cast<std::int64_t>(images.size()), n);
    ASSERT_EQ(*images.begin(), 0);
    ASSERT_EQ(*images.rbegin(), n - 1);
  }
}

TEST(Permutation, DependsOnTheKeyAndLeavesFewInPlace) {
  const std::int64_t n = 100003;
  const Permutation a(n, 1);
  const Permutation b(n, 2);
  int same = 0;
  int fixed = 0;
  int ascents = 0;
  for (std::int64_t i = 0; i + 1 < n; ++i) {
    same += a(i) == b(i);
    fixed += a(i) == i;
    ascents += a(i) < a(i + 1);
  }
  EXPECT_LT(same, 12);
  EXPECT_LT(fixed, 12);
  EXPECT_NEAR(ascents, n / 2.0, 5 * std::sqrt(n / 12.0));
}

TEST(Mixture, EveryPrefixIsWithinOneOfItsWeight) {
  std::mt19937_64 random(3);
  std::vector<std::vector<double>> cases = {{1},
                                            {0.5, 0.3, 0.2},
                                            {1, 2, 3},
                                            {0.999, 0.001},
                                            {1, 1, 1, 1, 1, 1, 1},
                                            {0.333, 0.333, 0.334}};
  for (int i = 0; i < 6; ++i) {
    std::vector<double> weights(2 + random() % 9);
    for (double& weight : weights) weight = std::exp(static_cast<double>(random() % 700) / 100.0);
    cases.push_back(weights);
  }
  for (const auto& weights : cases) {
    double sum = 0;
    for (const double weight : weights) sum += weight;
    const Mixture mixture(weights);
    std::vector<std::int64_t> counts(weights.size(), 0);
    for (std::int64_t n = 0; n < 200000; ++n) {
      const Mixture::Slot slot = mixture.at(n);
      const auto source = static_cast<std::size_t>(slot.source);
      ASSERT_EQ(slot.index, counts[source]++);
      for (std::size_t i = 0; i < weights.size(); ++i) {
        const double held = mixture.weight(static_cast<std::int64_t>(i));
        ASSERT_LT(std::abs(static_cast<double>(counts[i]) - held * static_cast<double>(n + 1)), 1)
            << "source " << i << " after " << n + 1;
        ASSERT_LT(std::abs(held - weights[i] / sum), 0x1p-20);
      }
    }
  }
}

TEST(Mixture, FarSamplesFollowFromThePeriod) {
  const Mixture mixture({0.5, 0.3, 0.2});
  EXPECT_EQ(mixture.period(), 10);
  const std::int64_t far = 4'000'000'000'000;
  EXPECT_EQ(mixture.at(far + 3).source, mixture.at(3).source);
  EXPECT_EQ(mixture.at(far).index, mixture.at(0).index + far / 10 *
                                                             (mixture.at(0).source == 0   ? 5
                                                              : mixture.at(0).source == 1 ? 3
                                                                                          : 2));
}

TEST(Mixture, RefusesBadWeights) {
  const auto complaint = [](const std::vector<double>& weights) {
    return message_of<UsageError>([&] { Mixture mixture(weights); });
  };
  EXPECT_THAT(complaint({}), HasSubstr("a mixture of 0 sources"));
  EXPECT_THAT(complaint({1, 0}), HasSubstr("weight 0 of source 2: weights are positive"));
  EXPECT_THAT(complaint({1, -1}), HasSubstr("weight -1 of source 2"));
  EXPECT_THAT(complaint({std::nan("")}), HasSubstr("source 1"));
  EXPECT_THAT(complaint({1, std::numeric_limits<double>::infinity()}), HasSubstr("source 2"));
  EXPECT_THAT(complaint({1e300, 1e300, 1e308, 1e308, 1e308}), HasSubstr("of their sum"));
  EXPECT_THAT(complaint({1e7, 1}), HasSubstr("less than a millionth"));
}

TEST_F(DatasetTest, AnEpochSeesEveryWindowOnceAndEveryTargetAtMostOnce) {
  const Dataset data(config_);
  const std::int64_t length = config_.sequence_length;
  std::map<std::int64_t, std::map<std::int64_t, std::multiset<std::int64_t>>> windows;
  std::vector<std::vector<std::int32_t>> streams;
  for (std::size_t i = 0; i < 3; ++i) streams.push_back(stream(i, false));
  std::map<std::int64_t, std::set<std::int64_t>> targets_of_first_epoch;
  for (std::int64_t i = 0; i < 4000; ++i) {
    const Dataset::Origin origin = data.training_origin(i);
    windows[origin.source][origin.epoch].insert(origin.window);
    const auto tokens = sample(data, i);
    const auto& ids = streams[static_cast<std::size_t>(origin.source)];
    const auto size = static_cast<std::int64_t>(ids.size());
    ASSERT_EQ(data.training_tokens(origin.source), size);
    for (std::int64_t t = 0; t <= length; ++t) {
      const std::int64_t at = (origin.first + t) % size;
      ASSERT_EQ(tokens[static_cast<std::size_t>(t)], ids[static_cast<std::size_t>(at)]);
      if (t > 0 && origin.epoch == 0) {
        ASSERT_TRUE(targets_of_first_epoch[origin.source].insert(at).second);
      }
    }
  }
  for (const auto& [source, epochs] : windows) {
    const std::int64_t expected = data.training_windows(source);
    EXPECT_EQ(expected, data.training_tokens(source) / length);
    ASSERT_GE(epochs.size(), 2u) << source;
    for (const auto& [epoch, seen] : epochs) {
      EXPECT_EQ(std::set<std::int64_t>(seen.begin(), seen.end()).size(), seen.size());
      if (epoch + 1 < static_cast<std::int64_t>(epochs.size())) {
        EXPECT_EQ(static_cast<std::int64_t>(seen.size()), expected);
      }
    }
  }
}

TEST_F(DatasetTest, OrderFollowsFromTheSeedAlone) {
  const Dataset a(config_);
  const Dataset b(config_);
  config_.seed = 12;
  const Dataset c(config_);
  int differ = 0;
  for (std::int64_t i = 299; i >= 0; --i) {  // any order, any instance
    EXPECT_EQ(sample(a, i), sample(b, i));
    differ += sample(a, i) != sample(c, i);
    EXPECT_EQ(a.training_origin(i).source, c.training_origin(i).source);
  }
  EXPECT_GT(differ, 280);
  for (std::int64_t i = 0; i < a.validation_samples(); ++i) {
    EXPECT_EQ(sample(a, i, false), sample(c, i, false));
  }
}

TEST_F(DatasetTest, EpochsStartElsewhere) {
  const Dataset data(config_);
  std::set<std::int64_t> phases;
  for (std::int64_t i = 0; i < 20000; ++i) {
    const auto origin = data.training_origin(i);
    if (origin.source == 1 && origin.window == 0) phases.insert(origin.first % 16);
  }
  EXPECT_GT(phases.size(), 8u);
}

TEST_F(DatasetTest, ThreadsReadTheSame) {
  const Dataset data(config_);
  std::vector<std::vector<std::int32_t>> expected;
  for (std::int64_t i = 0; i < 200; ++i) expected.push_back(sample(data, i));
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::int64_t i = 0; i < 200; ++i) {
        wrong[t] += sample(data, i) != expected[static_cast<std::size_t>(i)];
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(wrong, testing::Each(0));
}

TEST_F(DatasetTest, ValidationHoldsTheDocumentsOfLowHash) {
  const Dataset data(config_);
  std::map<std::int64_t, std::set<std::int64_t>> windows;
  for (std::int64_t i = 0; i < data.validation_samples(); ++i) {
    const Dataset::Origin origin = data.validation_origin(i);
    const auto ids = stream(static_cast<std::size_t>(origin.source), true);
    const auto begin = ids.begin() + origin.window * config_.sequence_length;
    EXPECT_EQ(sample(data, i, false), std::vector<std::int32_t>(begin, begin + 17));
    EXPECT_TRUE(windows[origin.source].insert(origin.window).second);
  }
  for (std::int64_t source = 0; source < 3; ++source) {
    const auto size =
        static_cast<std::int64_t>(stream(static_cast<std::size_t>(source), true).size());
    EXPECT_EQ(data.validation_windows(source), (size - 1) / 16);
    EXPECT_EQ(static_cast<std::int64_t>(windows[source].size()), data.validation_windows(source));
  }
}

TEST_F(DatasetTest, FirstValidationSamplesRepresentAllSources) {
  const Dataset data(config_);
  const auto total = static_cast<double>(data.validation_samples());
  ASSERT_GT(total, 50);
  std::vector<double> counts(3, 0);
  for (std::int64_t n = 0; n < data.validation_samples(); ++n) {
    ++counts[static_cast<std::size_t>(data.validation_origin(n).source)];
    for (std::int64_t source = 0; source < 3; ++source) {
      const double share = static_cast<double>(data.validation_windows(source)) / total;
      EXPECT_NEAR(counts[static_cast<std::size_t>(source)], share * static_cast<double>(n + 1),
                  2.0);
    }
  }
}

TEST_F(DatasetTest, TheSplitGoesByDocumentNotByPlace) {
  const auto held_out = [&](std::vector<Document> documents) {
    const std::string path = write_source(folder_ / "order.tok", documents);
    DatasetConfig config = config_;
    config.sources = {{path, 1}};
    return Dataset(config).training_tokens(0);
  };
  std::vector<Document> documents = documents_of(5, 300);
  const std::int64_t tokens = held_out(documents);
  std::reverse(documents.begin(), documents.end());
  EXPECT_EQ(held_out(documents), tokens);
  config_.validation = 0;
  const Dataset all(config_);
  EXPECT_EQ(all.validation_samples(), 0);
  EXPECT_EQ(stream(0, false).size(), static_cast<std::size_t>(all.training_tokens(0)));
}

TEST_F(DatasetTest, ValidationBytesCountTheTargets) {
  Dataset data(config_);
  std::vector<std::int32_t> bytes(kVocab);
  for (std::size_t id = 0; id < bytes.size(); ++id) bytes[id] = static_cast<std::int32_t>(id % 7);
  bytes[kEnd] = 0;
  EXPECT_THAT(message_of<UsageError>([&] {
                data.set_token_bytes({1, 2});
              }),
              HasSubstr("a tokenizer of 2 ids for token files of 1000"));
  data.set_token_bytes(bytes);
  for (std::int64_t i = 0; i < data.validation_samples(); ++i) {
    const auto tokens = sample(data, i, false);
    std::int64_t expected = 0;
    for (std::size_t t = 1; t < tokens.size(); ++t) {
      expected += tokens[t] == kEnd ? 0 : tokens[t] % 7;
    }
    EXPECT_EQ(data.validation_bytes(i), expected);
  }
}

TEST_F(DatasetTest, FingerprintNamesContentNotPaths) {
  const std::string before = Dataset(config_).fingerprint();
  const std::string moved = (folder_ / "moved.tok").string();
  std::filesystem::rename(config_.sources[1].path, moved);
  config_.sources[1].path = moved;
  EXPECT_EQ(Dataset(config_).fingerprint(), before);
  auto documents = documents_of(2, 90);
  documents[40].ids[0] ^= 1;
  write_source(moved, documents);
  EXPECT_NE(Dataset(config_).fingerprint(), before);
}

TEST_F(DatasetTest, ChangedDataIsRefused) {
  const Dataset data(config_);
  data.check_unchanged();
  const std::string& path = config_.sources[2].path;
  {
    const UniqueFd fd = open_file(path, O_WRONLY);
    const std::vector<std::uint16_t> bad(static_cast<std::size_t>(data.training_tokens(2)), 5000);
    ASSERT_GT(::pwrite(fd.get(), bad.data(), bad.size() * 2, 128), 0);
  }
  std::string message;
  for (std::int64_t i = 0; i < 20 && message.empty(); ++i) {
    message = message_of<Error>([&] { sample(data, i); });
  }
  EXPECT_THAT(message, HasSubstr(path + ": byte "));
  EXPECT_THAT(message, HasSubstr("id 5000 is outside the vocabulary of 1000"));
  EXPECT_THAT(message_of<Error>([&] { data.check_unchanged(); }),
              HasSubstr(path + ": the file changed since it was opened"));
}

TEST_F(DatasetTest, RefusesWhatCannotTrain) {
  const auto complaint = [&](auto&& change) {
    DatasetConfig config = config_;
    change(config);
    return message_of<UsageError>([&] { Dataset data(config); });
  };
  EXPECT_THAT(complaint([](auto& c) { c.sources[1].path = "/none.tok"; }),
              HasSubstr("/none.tok: no such token file"));
  const std::string empty = write_source(folder_ / "empty.tok", {});
  EXPECT_THAT(complaint([&](auto& c) { c.sources[1].path = empty; }), HasSubstr("source is empty"));
  const std::string foreign =
      write_source(folder_ / "foreign.tok", documents_of(1, 50), std::string(32, 'a'));
  EXPECT_THAT(complaint([&](auto& c) { c.sources[2].path = foreign; }),
              HasSubstr("foreign.tok: made with tokenizer aaaa"));
  EXPECT_THAT(complaint([](auto& c) { c.vocab = 999; }), HasSubstr("set model.vocab = 1000"));
  EXPECT_THAT(complaint([](auto& c) { c.sequence_length = 4000; }),
              HasSubstr("make no window of 4000 + 1"));
  EXPECT_THAT(complaint([](auto& c) { c.sequence_length = 0; }), HasSubstr("sequence length 0"));
  EXPECT_THAT(complaint([](auto& c) { c.validation = 1; }), HasSubstr("validation = 1"));
  EXPECT_THAT(complaint([](auto& c) { c.validation = -0.1; }), HasSubstr("validation = -0.1"));
  EXPECT_THAT(complaint([](auto& c) { c.sources.clear(); }), HasSubstr("0 sources"));
}

}  // namespace
}  // namespace talaria::storage
