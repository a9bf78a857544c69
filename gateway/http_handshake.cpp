#include "gateway/http_handshake.hpp"

#include "gateway/http_parser.hpp"

#include <array>
#include <openssl/evp.h>

namespace troupe {
namespace {

constexpr std::string_view protocol_id = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455, 1.3

/// Base64 of 16 bytes.
bool is_key(std::string_view key) {
  if (key.size() != 24) return false;
  std::array<unsigned char, 18> bytes;
  return EVP_DecodeBlock(bytes.data(), reinterpret_cast<const unsigned char*>(key.data()), 24) == 18 &&
         key.ends_with("==") && key[21] != '=';
}

} // namespace

std::string websocket_accept_key(const http_request& request) {
  if (!has_token(request.header("Upgrade"), "websocket") || !has_token(request.header("Connection"), "upgrade"))
    return {};
  auto key = request.header("Sec-WebSocket-Key");
  if (request.header("Sec-WebSocket-Version") != "13" || !is_key(key)) return {};
  auto text = std::string{key};
  text += protocol_id;
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned size = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha1(), nullptr) != 1) return {};
  std::array<unsigned char, 32> encoded; // 28 and the terminating NUL
  auto length = EVP_EncodeBlock(encoded.data(), digest.data(), static_cast<int>(size));
  return {reinterpret_cast<char*>(encoded.data()), static_cast<size_t>(length)};
}

std::string websocket_accept_head(const std::string& accept_key) {
  return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
         accept_key + "\r\n\r\n";
}

} // namespace troupe
