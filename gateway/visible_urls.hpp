#pragma once

#include "messages/envelope.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// URLs of things, without those of projects that the caller may not see.
inline std::vector<std::string> visible_urls(const principal& who, std::vector<std::string> urls) {
  constexpr std::string_view mark = "?project=";
  std::erase_if(urls, [&](const std::string& url) {
    auto at = url.find(mark);
    return !who.may_see(at == url.npos ? std::string_view{"default"} : std::string_view{url}.substr(at + mark.size()));
  });
  return urls;
}

} // namespace troupe
