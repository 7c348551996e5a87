// SPDX-License-Identifier: Apache-2.0
// prepare.json: what a prepared folder was made from, so that the same call can reuse it.
#pragma once

#include <optional>
#include <string>

#include "storage/text/prepare.h"
#include "storage/text/token_file.h"

namespace talaria::storage {

inline constexpr std::string_view kRecordFile = "prepare.json";

// The input of a prepare as text: options that change the result, and size and XXH3-128 of every
// file. Two equal texts make equal folders.
struct PrepareInput {
  std::string text;
  std::vector<FileStamp> stamps;  // of all files, in order
};

// Reads every file once.
PrepareInput describe_input(const PrepareOptions& options, const std::vector<TextSource>& sources);

// Throws Error when a file is no longer the one that was described.
void check_input_unchanged(const PrepareInput& input, const std::vector<TextSource>& sources);

// Writes prepare.json atomically. The record of a token file is the digest of its header.
void write_record(const PrepareOptions& options, const PrepareInput& input,
                  const PrepareResult& result);

// What lies in the folder, if prepare.json names the same input and tokenizer and token files are
// those it names; else nothing. Never throws for what it finds there.
std::optional<PrepareResult> read_record(const PrepareOptions& options, const PrepareInput& input);

}  // namespace talaria::storage
