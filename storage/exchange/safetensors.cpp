// SPDX-License-Identifier: Apache-2.0
#include "storage/exchange/safetensors.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "cluster/base/error.h"
#include "cluster/base/text.h"
#include "storage/exchange/json_reader.h"

namespace talaria::storage {
namespace {

constexpr std::size_t kLengthBytes = 8;
constexpr std::size_t kMostName = 256;
constexpr std::size_t kMostDims = 16;
constexpr std::size_t kMostTensors = 100'000;
constexpr std::size_t kMostMetadata = 10'000;

// Bytes of an element of each type that the format knows.
const std::map<std::string, std::int64_t>& known_types() {
  static const std::map<std::string, std::int64_t> types = {
      {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
      {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
      {"U32", 4},  {"F32", 4}, {"I64", 8}, {"U64", 8},     {"F64", 8}};
  return types;
}

// One tensor while the header is read: its range is relative to the data.
struct Entry {
  SafeTensor tensor;
  std::size_t at = 0;  // of its name in the header
  std::optional<std::int64_t> begin;
  std::int64_t end = 0;
  bool has_shape = false;
};

class HeaderParser {
 public:
  HeaderParser(std::string_view bytes, const std::string& file)
      : bytes_(bytes), file_(one_line(file)) {}

  std::vector<SafeTensor> parse() {
    const std::size_t length = header_length();
    const std::string_view header = bytes_.substr(kLengthBytes, length);
    if (length == 0 || header[0] != '{') {
      fail_usage("{}: byte {}: expected the header's opening brace", file_, kLengthBytes);
    }
    read_json(header, file_, kLengthBytes, [&](JsonReader& json) {
      json.object([&](const std::string& name, std::size_t at) {
        if (name == "__metadata__") {
          metadata(json);
        } else {
          entry(json, name, at);
        }
      });
    });
    return place(kLengthBytes + length);
  }

 private:
  template <class... Args>
  [[noreturn]] void refuse(const std::string& name, fmt::format_string<Args...> format,
                           Args&&... args) const {
    fail_usage("{}: tensor {}: {}", file_, in_quotes(name),
               fmt::format(format, std::forward<Args>(args)...));
  }

  std::size_t header_length() const {
    if (bytes_.size() < kLengthBytes) {
      fail_usage("{}: {} bytes; a safetensors file has 8 bytes of length, a header and data", file_,
                 bytes_.size());
    }
    std::uint64_t length = 0;
    std::memcpy(&length, bytes_.data(), kLengthBytes);
    if (length > static_cast<std::uint64_t>(kMostHeaderBytes)) {
      fail_usage("{}: byte 0: a header of {} bytes; allowed: at most {}", file_, length,
                 kMostHeaderBytes);
    }
    if (length > bytes_.size() - kLengthBytes) {
      fail_usage("{}: byte 0: a header of {} bytes, but the file has only {} behind its length",
                 file_, length, bytes_.size() - kLengthBytes);
    }
    return static_cast<std::size_t>(length);
  }

  static void metadata(JsonReader& json) {
    std::size_t members = 0;
    json.object([&](const std::string&, std::size_t at) {
      if (++members > kMostMetadata) {
        json.fail(at, fmt::format("more than {} entries of metadata", kMostMetadata));
      }
      if (json.peek() != JsonKind::kString) {
        json.fail(json.offset(), "metadata that is no string");
      }
      json.string();
    });
  }

  void entry(JsonReader& json, const std::string& name, std::size_t at) {
    if (name.empty() || name.size() > kMostName) {
      json.fail(at, fmt::format("a name of {} bytes; allowed: 1 to {}", name.size(), kMostName));
    }
    if (entries_.size() == kMostTensors) {
      json.fail(at, fmt::format("more than {} tensors", kMostTensors));
    }
    Entry entry;
    entry.tensor.name = name;
    entry.at = at;
    json.object([&](const std::string& key, std::size_t key_at) {
      if (key == "dtype") {
        entry.tensor.dtype = json.string();
      } else if (key == "shape") {
        shape(json, entry);
      } else if (key == "data_offsets") {
        offsets(json, entry);
      } else {
        json.fail(key_at, fmt::format("tensor {}: unknown key {}; allowed: dtype, shape and "
                                      "data_offsets",
                                      in_quotes(name), in_quotes(key)));
      }
    });
    finish(entry);
    entries_.push_back(std::move(entry));
  }

  void shape(JsonReader& json, Entry& entry) const {
    entry.has_shape = true;
    json.array([&](std::size_t index) {
      if (index == kMostDims) refuse(entry.tensor.name, "more than {} dims", kMostDims);
      const std::int64_t dim = json.integer();
      if (dim < 0) refuse(entry.tensor.name, "shape has {}; allowed: 0 or more", dim);
      entry.tensor.shape.push_back(dim);
    });
  }

  void offsets(JsonReader& json, Entry& entry) const {
    std::size_t numbers = 0;
    json.array([&](std::size_t index) {
      numbers = index + 1;
      const std::int64_t offset = json.integer();
      if (offset < 0) refuse(entry.tensor.name, "data_offsets has {}; allowed: 0 or more", offset);
      if (index == 0) entry.begin = offset;
      if (index == 1) entry.end = offset;
      if (index == 2) refuse(entry.tensor.name, "data_offsets has more than two numbers");
    });
    if (numbers < 2) refuse(entry.tensor.name, "data_offsets has {} numbers, not two", numbers);
  }

  // Everything about one tensor that needs no other.
  void finish(Entry& entry) const {
    SafeTensor& tensor = entry.tensor;
    if (tensor.dtype.empty() || !entry.has_shape || !entry.begin) {
      refuse(tensor.name, "has no {}",
             tensor.dtype.empty() ? "dtype"
             : !entry.has_shape   ? "shape"
                                  : "data_offsets");
    }
    const auto type = known_types().find(tensor.dtype);
    if (type == known_types().end()) {
      std::vector<std::string> names;
      for (const auto& [name, size] : known_types()) names.push_back(name);
      refuse(tensor.name, "dtype {}; allowed: {}", in_quotes(tensor.dtype), join_or(names));
    }
    // 0 anywhere makes no bytes, but the other dims must not overflow all the same.
    std::int64_t product = 1;
    bool empty = false;
    std::int64_t bytes = 0;
    for (const std::int64_t dim : tensor.shape) {
      empty = empty || dim == 0;
      if (__builtin_mul_overflow(product, std::max<std::int64_t>(dim, 1), &product)) {
        refuse(tensor.name, "its shape overflows 64 bits");
      }
    }
    if (__builtin_mul_overflow(product, type->second, &bytes)) {
      refuse(tensor.name, "its size in bytes overflows 64 bits");
    }
    tensor.count = empty ? 0 : product;
    tensor.bytes = empty ? 0 : static_cast<std::size_t>(bytes);
    if (*entry.begin > entry.end ||
        static_cast<std::size_t>(entry.end - *entry.begin) != tensor.bytes) {
      refuse(tensor.name, "data_offsets {} to {}, but its shape has {} bytes", *entry.begin,
             entry.end, tensor.bytes);
    }
  }

  // The tensors must cover the data behind the header exactly.
  std::vector<SafeTensor> place(std::size_t data_begin) {
    const std::size_t data = bytes_.size() - data_begin;
    std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
      return std::pair(*a.begin, a.end) < std::pair(*b.begin, b.end);
    });
    std::vector<SafeTensor> tensors;
    tensors.reserve(entries_.size());
    std::size_t next = 0;
    for (Entry& entry : entries_) {
      const auto begin = static_cast<std::size_t>(*entry.begin);
      if (begin != next) {
        refuse(entry.tensor.name, "begins at {} of the data, where {} is expected: {}", begin, next,
               begin < next ? "it overlaps the one before" : "there is a hole before it");
      }
      if (entry.tensor.bytes > data - next) {
        refuse(entry.tensor.name, "ends at {} of the data, of which the file has {} bytes",
               entry.end, data);
      }
      next += entry.tensor.bytes;
      entry.tensor.file_begin = data_begin + begin;
      tensors.push_back(std::move(entry.tensor));
    }
    if (next != data) {
      fail_usage("{}: byte {}: {} bytes that belong to no tensor", file_, data_begin + next,
                 data - next);
    }
    return tensors;
  }

  std::string_view bytes_;
  std::string file_;
  std::vector<Entry> entries_;
};

}  // namespace

std::vector<SafeTensor> parse_safetensors(std::string_view bytes, const std::string& file) {
  return HeaderParser(bytes, file).parse();
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : path_(path.string()), map_(path), tensors_(parse_safetensors(map_.text(), path_)) {}

ElementType SafetensorsFile::element_type(const SafeTensor& tensor) const {
  const std::optional<ElementType> type = parse_element_type(tensor.dtype);
  if (!type) {
    fail_usage("{}: tensor {}: dtype {}; allowed: F32, F16 or BF16", one_line(path_),
               in_quotes(tensor.name), tensor.dtype);
  }
  return *type;
}

}  // namespace talaria::storage
