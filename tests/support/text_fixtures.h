// SPDX-License-Identifier: Apache-2.0
// What the tests of storage/text share: a folder that goes away, seeded text and bytes, real data.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "cluster/base/error.h"
#include "cluster/base/file.h"

namespace talaria::test {

// A fresh folder under the system's temporary one, removed with all it holds.
class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "talaria-text-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) fail_errno("mkdtemp", name);
    path_ = name;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  // Writes a file of that name and returns its path.
  std::string write(const std::string& name, std::string_view content) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    const UniqueFd fd = open_file(path_ / name, O_WRONLY | O_CREAT | O_TRUNC);
    write_all(fd.get(), std::as_bytes(std::span(content)), path_ / name);
    return (path_ / name).string();
  }

 private:
  std::filesystem::path path_;
};

// Real data beside the checkout, or in $TALARIA_SHARED; empty when it is missing.
inline std::filesystem::path shared_data(const std::string& name) {
  const char* shared = std::getenv("TALARIA_SHARED");
  const std::filesystem::path root =
      shared != nullptr ? shared : std::filesystem::path(TALARIA_SOURCE_DIR) / ".." / "shared";
  const std::filesystem::path path = root / "data" / name;
  return std::filesystem::exists(path) ? path : std::filesystem::path();
}

#define TALARIA_NEEDS_SHARED(path) \
  if ((path).empty()) GTEST_SKIP() << "needs the real data of ../shared (or $TALARIA_SHARED)"

inline std::string random_bytes(std::mt19937_64& random, std::size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// Sentences of words drawn with Zipf's frequencies from an invented vocabulary, in paragraphs.
inline std::string random_prose(std::uint64_t seed, std::size_t size) {
  std::mt19937_64 random(seed);
  std::vector<std::string> words;
  for (int i = 0; i < 600; ++i) {
    std::string word;
    const std::size_t letters = 1 + random() % 9;
    for (std::size_t j = 0; j < letters; ++j) word += "etaoinshrdlucmfwypvbgkqjxz"[random() % 26];
    words.push_back(word);
  }
  std::string text;
  while (text.size() < size) {
    const double u = static_cast<double>(random() >> 11) * 0x1p-53;
    text += words[static_cast<std::size_t>(600.0 * u * u * u)];
    const auto end = random() % 60;
    text += end == 0 ? ".\n\n" : end < 4 ? ". " : end < 7 ? ",\n" : end == 7 ? " 1234 é'll " : " ";
  }
  text.resize(size);
  return text;
}

struct Output {
  int status = -1;
  std::string text;
};

// Runs a shell command and returns its standard output.
inline Output run_shell(const std::string& command) {
  Output output;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) fail_errno("popen", command);
  std::array<char, 4096> buffer;
  for (std::size_t n; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    output.text.append(buffer.data(), n);
  }
  output.status = ::pclose(pipe);
  return output;
}

inline std::string sha256_of(const std::string& path) {
  return run_shell("sha256sum < '" + path + "'").text.substr(0, 64);
}

// The message of the exception that `action` throws; "" when it throws none.
template <class Exception, class Action>
std::string message_of(Action&& action) {
  try {
    action();
  } catch (const Exception& exception) {
    return exception.what();
  }
  return "";
}

}  // namespace talaria::test
