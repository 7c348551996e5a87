// SPDX-License-Identifier: Apache-2.0
// Bytes in any pieces come out as whole characters.
#include "worker/text_stream.h"

#include <gtest/gtest.h>

namespace talaria::worker {
namespace {

TEST(TextStream, GivesWholeCharacters) {
  const std::string text = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80z";  // of 1, 2, 3, 4 and 1 bytes
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    TextStream stream;
    std::string all;
    for (std::size_t at = 0; at < text.size(); at += piece) {
      const std::string part = stream.push(text.substr(at, piece));
      if (!part.empty()) {
        EXPECT_NE(static_cast<unsigned char>(part[0]) & 0xC0, 0x80) << piece;
      }
      all += part;
    }
    EXPECT_EQ(all, text) << piece;
  }
}

TEST(TextStream, ReplacesWhatIsNoText) {
  TextStream stream;
  EXPECT_EQ(stream.push("a\xFF"
                        "b"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_EQ(stream.push("\x80"), "\xEF\xBF\xBD");
  EXPECT_EQ(stream.push("\xE2\x82"), "");
  // Not what was to follow.
  EXPECT_EQ(stream.push("x"), "\xEF\xBF\xBD\xEF\xBF\xBDx");
  EXPECT_EQ(stream.push("\xF0\x9F"), "");
}

}  // namespace
}  // namespace talaria::worker
