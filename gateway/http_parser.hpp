#pragma once

#include "gateway/http_server.hpp"

#include <memory>
#include <optional>
#include <string_view>

namespace troupe {

/// Takes one request apart, fed with bytes as they come. Knows nothing of sockets.
class http_parser {
public:
  /// Gets the body, piece by piece.
  class sink {
  public:
    virtual void on_body(std::string_view bytes) = 0;

  protected:
    ~sink() = default;
  };

  /// `into` gets method, target, path, segments, query and headers. More than `header_bytes_max` of head is an error.
  http_parser(http_request& into, size_t header_bytes_max);
  ~http_parser();

  enum class step {
    more,     // all that could be used is used; what remains comes again with more behind it
    head,     // the head is complete and a body follows; reported once
    complete, // the request is; what remains belongs to the next one
    failed    // see status() and reason()
  };
  struct progress {
    size_t used = 0;
    step reached = step::more;
  };
  progress feed(std::string_view bytes, sink& body);

  bool head_done() const noexcept;
  bool keep_alive() const noexcept;
  bool version_1_0() const noexcept;
  bool expects_continue() const noexcept;
  std::optional<uint64_t> content_length() const noexcept;

  int status() const noexcept; // the reply to a failed request
  const char* reason() const noexcept;

private:
  struct machine;
  std::unique_ptr<machine> machine_;
};

/// Fills path, segments and query from request.target. False: it is malformed.
bool split_target(http_request& request);

/// True if a comma-separated header value holds the token (any case).
bool has_token(std::string_view list, std::string_view token);
bool same_text(std::string_view a, std::string_view b); // any case (ASCII)

} // namespace troupe
