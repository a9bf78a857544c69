#include "gateway/rest/query_text.hpp"

#include "messages/percent.hpp"

#include <algorithm>
#include <sstream>

namespace troupe {

outcome<config_map> parse_query(std::string_view query) {
  config_map out;
  std::istringstream pairs{std::string{query}};
  for (std::string pair; std::getline(pairs, pair, '&');) {
    auto equals = std::min(pair.find('='), pair.size());
    auto key = percent_decoded(pair.substr(0, equals), true);
    auto value = percent_decoded(pair.substr(std::min(equals + 1, pair.size())), true);
    if (!key || !value) return fail(fault::invalid, "This is no query: " + pair.substr(0, 100));
    if (!pair.empty()) out.insert_or_assign(std::move(*key), std::move(*value));
  }
  return out;
}

} // namespace troupe
