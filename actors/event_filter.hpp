#pragma once

#include "messages/error.hpp"
#include "messages/event.capnp.h"

#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// Which events a subscriber wants, as it says so. An empty member means all.
struct event_filter {
  /// "project.kind.name.verb", each part a word or `*` (any one part), or `>` (all the rest, at least one part). The
  /// verb is the action without its kind: "instance-started" -> "started". The project of what concerns the server
  /// is "_". In a name (and only there) '.', '*', '>', '%' and what is not printable are written %XX, as in a URL.
  std::vector<std::string> subjects;
  std::vector<std::string> types; // lifecycle, operation, logging, security
  schema::Event::Level least_level = schema::Event::Level::DEBUG;
  std::string operation; // id: the operation's own events and those of what it brought about
  std::string principal; // user name of the requestor

  bool operator==(const event_filter&) const = default;
};

/// What a filter looks at; worked out once per event.
struct event_facts {
  schema::Event::Type type = schema::Event::Type::LIFECYCLE;
  schema::Event::Level level = schema::Event::Level::INFO;
  std::string project, kind, name, verb; // as the parts of a subject
  std::string operation, principal;
};
event_facts facts_of(schema::Event::Reader event);
/// "default.instance.c1.started"
std::string subject_of(const event_facts& facts);

/// A filter that was checked and parsed; immutable, any thread.
class event_matcher {
public:
  /// fault::invalid, with the offending word: malformed subjects, unknown types, too many of them.
  static outcome<event_matcher> parse(const event_filter& filter);

  bool matches(const event_facts& facts) const;
  bool everything() const;
  bool wants(schema::Event::Type type) const { return types_ >> static_cast<unsigned>(type) & 1; }
  /// Whether a thing with this name may bring about such events: for the rows of a snapshot, which have no verb, level
  /// or principal.
  bool covers(const event_facts& thing) const;

private:
  struct pattern {
    std::vector<std::string> parts; // at most 4; "*" any
    bool rest = false;              // ends in ">"
  };
  static outcome<pattern> parse_subject(std::string_view subject);
  bool fits(const event_facts& facts, size_t parts) const;

  std::vector<pattern> subjects_;
  uint8_t types_ = 0; // bits by schema::Event::Type
  schema::Event::Level least_level_ = schema::Event::Level::DEBUG;
  std::string operation_, principal_;
};

} // namespace troupe
