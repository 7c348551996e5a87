// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/checkpoint_support.h"

#include <cstdio>
#include <cstdlib>
#include <limits>

#include <sys/wait.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"

namespace talaria::storage::test {

const std::vector<TestTensor>& small_model() {
  static const std::vector<TestTensor> model = {
      {"tok_embed", {211, 24}, false, 1},
      {"blocks.0.ln1.weight", {24, 1}, true, 1},
      {"blocks.0.attn.q.weight", {24, 24}, false, 1},
      {"blocks.0.attn.proj.weight", {24, 24}, false, 4},
      {"blocks.0.mlp.proj.weight", {24, 96}, false, 4},
      {"ln_f.bias", {5, 1}, true, 1},
  };
  return model;
}

float element(const std::string& group, const std::string& tensor, std::int64_t row,
              std::int64_t column, std::int64_t step) {
  const std::size_t name = std::hash<std::string>()(group + tensor) % 1000;
  return static_cast<float>(row) + static_cast<float>(column) / 128.0F +
         static_cast<float>(name) * 4.0F + static_cast<float>(step) * 0.001F;
}

const std::vector<std::string>& groups() {
  static const std::vector<std::string> names = {"param", "adam_m", "adam_v"};
  return names;
}

namespace {

void add_box(RankBoxes& rank, BoxGroup& group, const TestTensor& tensor, const parallel::Box& box,
             std::int64_t step, bool fill) {
  const std::size_t count = static_cast<std::size_t>(box.count());
  auto memory =
      std::make_unique<std::vector<float>>(count, std::numeric_limits<float>::quiet_NaN());
  if (fill) {
    std::size_t i = 0;
    for (std::int64_t row = 0; row < box.extent[0]; ++row) {
      for (std::int64_t column = 0; column < box.extent[1]; ++column) {
        (*memory)[i++] =
            element(group.group, tensor.name, box.offset[0] + row, box.offset[1] + column, step);
      }
    }
  }
  group.boxes.push_back({tensor.name, tensor.global, tensor.vector, box, memory->data(),
                         tensor.global[1] / tensor.segments});
  rank.memory.push_back(std::move(memory));
}

}  // namespace

std::vector<RankBoxes> cut(const std::vector<TestTensor>& model, const Tiling& tiling,
                           std::int64_t step, bool fill) {
  std::vector<RankBoxes> ranks(static_cast<std::size_t>(tiling.ranks));
  for (std::size_t g = 0; g < groups().size(); ++g) {
    for (RankBoxes& rank : ranks) rank.groups.push_back({groups()[g], {}});
    auto next = static_cast<std::size_t>(tiling.first_rank);
    for (const TestTensor& tensor : model) {
      const int column_parts = tensor.segments > 1 ? tiling.column_parts : 1;
      const std::int64_t width = tensor.global[1] / column_parts;
      for (int r = 0; r < tiling.row_parts; ++r) {
        const parallel::RowRange rows = parallel::row_block(tensor.global[0], tiling.row_parts, r);
        for (int c = 0; c < column_parts; ++c) {
          const parallel::Box box{{rows.begin, c * width}, {rows.end - rows.begin, width}};
          RankBoxes& rank = ranks[next++ % ranks.size()];
          add_box(rank, rank.groups[g], tensor, box, step, fill);
        }
      }
    }
  }
  return ranks;
}

std::filesystem::path save(const CheckpointRef& ref, const Tiling& tiling,
                           const std::vector<TestTensor>& model, const WriteOptions& options) {
  const std::vector<RankBoxes> ranks = cut(model, tiling, ref.step, true);
  const std::filesystem::path temporary = begin_checkpoint(ref);
  std::vector<std::string> records;
  for (int rank = 0; rank < tiling.ranks; ++rank) {
    records.push_back(write_shard(temporary, rank, tiling.ranks,
                                  ranks[static_cast<std::size_t>(rank)].groups, options));
  }
  commit_checkpoint(ref, temporary, records, R"({"seed":"7","loader":{"samples":640}})");
  return ref.final_path();
}

std::int64_t wrong_elements(const std::filesystem::path& dir, const Tiling& tiling,
                            std::int64_t step, const std::vector<TestTensor>& model) {
  const std::vector<RankBoxes> expected = cut(model, tiling, step, true);
  const std::vector<RankBoxes> got = cut(model, tiling, step, false);
  std::int64_t wrong = 0;
  for (std::size_t rank = 0; rank < got.size(); ++rank) {
    const CheckpointReader reader(dir);
    for (const BoxGroup& group : got[rank].groups) reader.read(group.group, group.boxes);
    for (std::size_t i = 0; i < got[rank].memory.size(); ++i) {
      for (std::size_t e = 0; e < got[rank].memory[i]->size(); ++e) {
        wrong += (*got[rank].memory[i])[e] == (*expected[rank].memory[i])[e] ? 0 : 1;
      }
    }
  }
  return wrong;
}

Scratch::Scratch() {
  std::string name =
      (std::filesystem::temp_directory_path() / "talaria-checkpoint-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) fail_errno("mkdtemp", name);
  path_ = name;
}

Scratch::~Scratch() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

ChildEnd in_child(const std::function<int()>& body) {
  std::FILE* output = std::tmpfile();
  if (output == nullptr) fail_errno("tmpfile", "");
  std::fflush(nullptr);
  const pid_t pid = check_sys(::fork(), "fork", "");
  if (pid == 0) {
    ::dup2(::fileno(output), STDOUT_FILENO);
    ::dup2(::fileno(output), STDERR_FILENO);
    int code = 99;
    try {
      code = body();
    } catch (const std::exception& error) {
      fmt::print(stderr, "{}\n", error.what());
    }
    std::fflush(nullptr);
    ::_exit(code);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  ChildEnd end;
  if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
  if (WIFEXITED(status)) end.exit_code = WEXITSTATUS(status);
  std::rewind(output);
  char buffer[4096];
  for (std::size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, output)) > 0;) {
    end.output.append(buffer, got);
  }
  std::fclose(output);
  return end;
}

ChildEnd shell(const std::string& command) {
  return in_child([&] {
    ::execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
    return 127;
  });
}

}  // namespace talaria::storage::test
