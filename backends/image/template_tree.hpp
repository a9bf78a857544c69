#pragma once

#include "messages/error.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::templates {

inline constexpr size_t source_max = 1 << 20; // bytes
inline constexpr size_t nesting_max = 32;     // blocks in blocks, brackets in brackets
inline constexpr size_t output_max = 1 << 20; // bytes
inline constexpr size_t turns_max = 10'000;   // of all loops together
inline constexpr size_t work_max = 64u << 20; // bytes of text touched by filters and comparisons

enum class operation : uint8_t {
  text,
  number,
  boolean,
  name,
  call,
  filter,
  negate,
  both,
  either,
  equal,
  unequal,
  in,
  not_in
};

/// text: the literal; number: decimal digits; boolean: "true" or "false"; name: a dotted path; call, filter: which one.
struct expression {
  operation what = operation::text;
  std::string word;
  std::vector<expression> operands; // filter: the value, then an argument if there is one
  unsigned line = 0;
};

enum class block : uint8_t { text, print, choose, loop };

struct node;
using node_list = std::vector<node>;

struct branch;

/// text: `word`; print: `value`; choose: branches; loop: for `word` (and `second`, in maps) in `value` do `body`.
struct node {
  block what = block::text;
  std::string word, second;
  expression value;
  std::vector<branch> branches;
  node_list body;
  unsigned line = 0;
};

struct branch {
  bool otherwise = false; // else: no condition
  expression condition;
  node_list body;
};

/// Throws template_refusal.
node_list parse(std::string_view source);

struct template_refusal {
  error why;
};

[[noreturn]] void refuse(fault code, unsigned line, const std::string& what);

} // namespace troupe::templates
