#pragma once

#include "messages/bus.capnp.h"
#include "messages/error.hpp"

#include <capnp/rpc-twoparty.h>
#include <kj/async-io.h>
#include <memory>
#include <string>

namespace troupe {

/// A daemon that is reached by network. The texts are PEM.
struct tls_daemon {
  std::string address;            // HOST:PORT, of core.bus_address
  std::string server_certificate; // the one it must show, and no other
  std::string certificate, key;   // who we are: the daemon must trust the certificate
};

/// A connection to a daemon's message bus. One per thread: it brings KJ's event loop for that thread. Calls are made on
/// `bus()` and waited for with `scope()`; their errors are kj::Exceptions, see `error_of`.
class bus_client {
public:
  /// `socket`: DIR/bus.socket. Throws kj::Exception when nobody listens there.
  explicit bus_client(const std::string& socket);
  /// Throws kj::Exception when nobody listens there or it is another than expected. A daemon that does not trust the
  /// certificate closes the connection: then the first call fails.
  explicit bus_client(const tls_daemon& daemon);
  ~bus_client();

  bus::Bus::Client bus();
  bus::Project::Client project(const std::string& name = "default");

  kj::WaitScope& scope();
  kj::AsyncIoContext& io();

private:
  struct data;
  std::unique_ptr<data> data_;
};

/// What the daemon meant: code and sentence. An exception that is not the daemon's (a lost connection) is
/// backend_failed.
error error_of(const kj::Exception& why);

/// A sink that keeps what it gets. `text` must outlive the stream.
bus::ByteStream::Client sink_into(std::string& text);

/// A sink that writes to a descriptor, which stays the caller's and must outlive it. Blocks where the descriptor does.
bus::ByteStream::Client sink_into(int fd);

/// Sends a descriptor's bytes up to its end, then `end`; waits where the receiver is slow. For files and other
/// descriptors whose reads do not block for long.
kj::Promise<void> send_all(int fd, bus::ByteStream::Client to);

} // namespace troupe
