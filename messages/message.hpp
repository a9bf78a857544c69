#pragma once

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <cstring>
#include <memory>
#include <span>
#include <string>

namespace troupe {

/// One immutable Cap'n Proto message: a shared flat word array, typed by its root struct. Copies share the
/// words; the same bytes lie in a mailbox, in LMDB and on a wire. Thread-safe as any immutable value.
template <class Schema>
class message {
public:
  using words = kj::Array<capnp::word>;

  /// An empty message, so that `read` never meets null.
  message() : message{make([](auto) {})} {}

  /// `fill` receives the root builder.
  template <class Fill>
  static message make(Fill&& fill) {
    capnp::MallocMessageBuilder builder;
    fill(builder.initRoot<Schema>());
    return message{capnp::messageToFlatArray(builder)};
  }

  static message of(capnp::MessageBuilder& builder) { return message{capnp::messageToFlatArray(builder)}; }

  /// Copies stored or received bytes (any alignment). The content is checked lazily: reading a malformed field
  /// throws kj::Exception, so decode foreign bytes once, inside a `try`.
  static message from_bytes(std::string_view bytes) {
    auto copy = kj::heapArray<capnp::word>(bytes.size() / sizeof(capnp::word));
    std::memcpy(copy.begin(), bytes.data(), copy.size() * sizeof(capnp::word));
    return message{kj::mv(copy)};
  }

  /// The reader lives for this call only: a shared one would use up its traversal budget, and race.
  template <class Use>
  auto read(Use&& use) const {
    capnp::ReaderOptions options;
    options.traversalLimitInWords = 64 << 20;
    capnp::FlatArrayMessageReader reader{*words_, options};
    return use(reader.getRoot<Schema>());
  }

  std::string_view bytes() const {
    auto chars = words_->asChars();
    return {chars.begin(), chars.size()};
  }

private:
  explicit message(words w) : words_{std::make_shared<words>(kj::mv(w))} {}

  std::shared_ptr<const words> words_;
};

} // namespace troupe
