#include "gateway/rest/query_text.hpp"

#include <algorithm>
#include <sstream>

namespace troupe {
namespace {

std::string decode(std::string_view in) {
  std::string out;
  for (size_t i = 0; i < in.size(); ++i) {
    if (in[i] == '+')
      out += ' ';
    else if (in[i] == '%' && i + 2 < in.size()) {
      out += static_cast<char>(std::strtoul(std::string{in.substr(i + 1, 2)}.c_str(), nullptr, 16));
      i += 2;
    } else
      out += in[i];
  }
  return out;
}

} // namespace

config_map parse_query(std::string_view query) {
  config_map out;
  std::istringstream pairs{std::string{query}};
  for (std::string pair; std::getline(pairs, pair, '&');) {
    auto equals = std::min(pair.find('='), pair.size());
    if (!pair.empty())
      out.insert_or_assign(decode(std::string_view{pair}.substr(0, equals)),
                           decode(std::string_view{pair}.substr(std::min(equals + 1, pair.size()))));
  }
  return out;
}

} // namespace troupe
