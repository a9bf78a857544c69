#include "messages/percent.hpp"

namespace troupe {
namespace {

int hex(char c) {
  constexpr std::string_view digits = "0123456789abcdef0123456789ABCDEF";
  auto at = digits.find(c);
  return at == digits.npos ? -1 : static_cast<int>(at % 16);
}

} // namespace

std::optional<std::string> percent_decoded(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i] == '+' && plus_is_space ? ' ' : text[i];
      continue;
    }
    bool whole = i + 2 < text.size();
    int high = whole ? hex(text[i + 1]) : -1, low = whole ? hex(text[i + 2]) : -1;
    if (high < 0 || low < 0 || high + low == 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

} // namespace troupe
